-- Spends a nonce of an access key, by the server's clock.
-- KEYS: the key's spent nonces by the moment from which their requests are too old; since when nonces are remembered here.
-- ARGV: the nonce; when its request was signed and until when it is good; how many the key may have; by how much clocks may differ;
-- how long any request can be good (all in seconds).
-- Answers: 0 fresh, 1 replayed, 2 too many, 3 signed before anything was remembered, 4 the clocks differ.
local now = tonumber(redis.call('TIME')[1])
local since = redis.call('GET', KEYS[2])
if not since then
  since = now + 1
  redis.call('SET', KEYS[2], since)
end
local last = tonumber(ARGV[3]) + tonumber(ARGV[5])
if now > last or last - now > tonumber(ARGV[6]) + 2 * tonumber(ARGV[5]) then return 4 end
if tonumber(ARGV[2]) < tonumber(since) then return 3 end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 2 end
redis.call('ZADD', KEYS[1], last, ARGV[1])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[6]) + 2 * tonumber(ARGV[5]) + 1)
return 0
