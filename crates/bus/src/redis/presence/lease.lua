-- Makes the lease of a life longer, by the clock of Redis, if it has not run out.
-- KEYS: the lives of all nodes, with the time when each lease runs out.
-- ARGV: the life; milliseconds to live; 1 if the life is new; the life it follows, or nothing.
-- Answers 1 if the life lives on.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] ~= '1' then
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not ends or tonumber(ends) <= now then return 0 end
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
-- A life that was left is dead for everybody, so that what is left of it is found even if this node dies before it is removed.
if ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[1], 0, ARGV[4])
end
return 1
