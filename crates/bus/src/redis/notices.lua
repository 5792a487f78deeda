-- Keeps a notice, and removes what is over by the clock of Redis and what is too much.
-- KEYS: the notices, each with the time when it is over.
-- ARGV: the text; milliseconds since 1970 when it is over; how many there may be.
-- Answers 1 if it is kept or over, 0 if there was no room for it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if tonumber(ARGV[2]) <= now then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 1
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[3]) - 1)
return redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
