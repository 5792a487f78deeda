-- Puts a member into a channel, or takes it out, for one life of a node. Everything it touches belongs to the channel.
-- KEYS: the life's members of the channel; how many members each life has there; how many connections each user has there.
-- ARGV: the life; the client; its value, empty to take it out.
-- Answers 1 if the first connection of a user came or the last one went, and 2 more if the client was there before.
local function user(value)
  if not value or #value < 5 or string.byte(value) ~= 1 then return nil end
  local length = struct.unpack('>I4', value, 2)
  if #value < 5 + length then return nil end
  return string.sub(value, 6, 5 + length)
end

local old = redis.call('HGET', KEYS[1], ARGV[2])
local was, is = user(old), user(ARGV[3])
-- The first write decides whether Redis has memory for this; what follows is not refused any more.
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
elseif old then
  redis.call('HDEL', KEYS[1], ARGV[2])
end

local edge = 0
if was ~= is then
  if was and redis.call('HINCRBY', KEYS[3], was, -1) <= 0 then
    redis.call('HDEL', KEYS[3], was)
    edge = 1
  end
  if is and redis.call('HINCRBY', KEYS[3], is, 1) == 1 then
    edge = 1
  end
end

local members = redis.call('HLEN', KEYS[1])
if members > 0 then
  redis.call('HSET', KEYS[2], ARGV[1], members)
else
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return edge + (old and 2 or 0)
