-- A kept answer and its age in seconds.
-- KEYS: the answer. Answers: its age and itself; -1 when there is none.
local at, answer = unpack(redis.call('HMGET', KEYS[1], 'at', 'answer'))
if not at or not answer then return {-1, false} end
return {math.max(0, tonumber(redis.call('TIME')[1]) - tonumber(at)), answer}
