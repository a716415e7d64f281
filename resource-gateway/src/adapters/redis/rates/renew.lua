-- Prolongs a lease on slots. One that a restarted server has forgotten is there again: whoever renews it still uses it.
-- KEYS: the buckets. ARGV: the lease and its length in ms.
local time = redis.call('TIME')
local ms = math.floor((tonumber(time[1]) * 1000000 + tonumber(time[2])) / 1000)
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, ms + tonumber(ARGV[2]), ARGV[1])
  redis.call('PEXPIRE', key, 2 * tonumber(ARGV[2]))
end
return {1}
