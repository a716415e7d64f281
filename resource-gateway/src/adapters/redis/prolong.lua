-- Keeps an idempotency key for the request that is under way.
-- KEYS: the key. ARGV: who began; for how long, in ms.
if redis.call('HGET', KEYS[1], 'by') == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
