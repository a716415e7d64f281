-- Frees slots and sets estimates right.
-- KEYS: the buckets. ARGV: the lease; then of each bucket limit, period in ticks (0: slots), units more (or fewer) than were taken.
local time = redis.call('TIME')
local now = math.floor((tonumber(time[1]) * 1000000 + tonumber(time[2])) / 10)
for i, key in ipairs(KEYS) do
  local at = i * 3 - 1
  local limit, period, units = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if period == 0 then
    redis.call('ZREM', key, ARGV[1])
  else
    local debt, stored = 0, redis.call('GET', key)
    if stored then
      local owed, since = string.match(stored, '^(%d+) (%d+)$')
      debt = math.max(0, tonumber(owed) - math.max(0, now - tonumber(since)) * limit)
    end
    debt = math.min(math.max(0, debt + units * period), 2 * limit * period)
    if debt == 0 then
      redis.call('DEL', key)
    else
      local empty = math.ceil(debt / limit / 100)
      redis.call('SET', key, string.format('%.0f %.0f', debt, now), 'PX', math.max(1, empty))
    end
  end
end
return {1}
