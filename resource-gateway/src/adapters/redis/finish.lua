-- Keeps the answer of a request under its idempotency key, unless the key has become somebody else's meanwhile.
-- KEYS: the key. ARGV: who began; what the request is; the answer; how long it is kept, in ms.
local request, by = unpack(redis.call('HMGET', KEYS[1], 'request', 'by'))
if request and by ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'request', ARGV[2], 'answer', ARGV[3])
redis.call('HDEL', KEYS[1], 'by')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
