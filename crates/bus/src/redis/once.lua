-- Publishes, unless something with the same key was published lately.
-- KEYS: what remembers the key. ARGV: milliseconds to remember it; the channel; the payload.
-- Answers how many heard it, or nothing if it was not published.
if not redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1]) then return false end
local heard = redis.pcall('PUBLISH', ARGV[2], ARGV[3])
-- What was refused may be tried again.
if type(heard) == 'table' then redis.call('DEL', KEYS[1]) end
return heard
