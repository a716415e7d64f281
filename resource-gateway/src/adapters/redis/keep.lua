-- Keeps an answer.
-- KEYS: the answer. ARGV: the answer itself; for how long, in ms.
redis.call('HSET', KEYS[1], 'at', redis.call('TIME')[1], 'answer', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
