-- Takes an idempotency key for a request, or says what became of it.
-- KEYS: the key. ARGV: what the request is; who asks; how long the key is its own unless it is renewed, in ms.
-- Answers: 0 begun, 1 finished and the answer, 2 under way, 3 another request's.
local request, by, answer = unpack(redis.call('HMGET', KEYS[1], 'request', 'by', 'answer'))
if not request then
  redis.call('HSET', KEYS[1], 'request', ARGV[1], 'by', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {0, false}
end
if request ~= ARGV[1] then return {3, false} end
if answer then return {1, answer} end
-- Asked once more after a lost answer, the key is there already.
if by == ARGV[2] then return {0, false} end
return {2, false}
