-- Gives an idempotency key back, if it is still the asker's.
-- KEYS: the key. ARGV: who began.
if redis.call('HGET', KEYS[1], 'by') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
