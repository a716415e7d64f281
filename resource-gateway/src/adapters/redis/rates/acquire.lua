-- Takes from every bucket or from none, by the server's clock.
-- KEYS: the buckets. ARGV: the lease and its length in ms; then of each bucket limit, period in ticks (0: slots), cost, enforced.
-- Answers: granted; then of each bucket whether it has too little, and its level: a debt, or the slots in use.
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now, ms = math.floor(micros / 10), math.floor(micros / 1000)
local granted, levels, over = 1, {}, {}
for i, key in ipairs(KEYS) do
  local at = i * 4 - 1
  local limit, period, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if period == 0 then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', ms)
    levels[i] = redis.call('ZCARD', key)
    -- Asked once more after a lost answer, the slot is there already.
    over[i] = levels[i] >= limit and not redis.call('ZSCORE', key, ARGV[1])
  else
    local debt, stored = 0, redis.call('GET', key)
    if stored then
      local owed, since = string.match(stored, '^(%d+) (%d+)$')
      debt = math.max(0, tonumber(owed) - math.max(0, now - tonumber(since)) * limit)
    end
    levels[i] = debt
    over[i] = debt + cost * period > limit * period
  end
  if over[i] and ARGV[at + 3] == '1' then granted = 0 end
end
local answer = {granted}
for i, key in ipairs(KEYS) do
  if granted == 1 and not over[i] then
    local at = i * 4 - 1
    local limit, period, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if period == 0 then
      levels[i] = levels[i] + redis.call('ZADD', key, ms + tonumber(ARGV[2]), ARGV[1])
      redis.call('PEXPIRE', key, 2 * tonumber(ARGV[2]))
    else
      levels[i] = levels[i] + cost * period
      local empty = math.ceil(levels[i] / limit / 100)
      redis.call('SET', key, string.format('%.0f %.0f', levels[i], now), 'PX', math.max(1, empty))
    end
  end
  answer[2 * i] = over[i] and 1 or 0
  answer[2 * i + 1] = levels[i]
end
return answer
