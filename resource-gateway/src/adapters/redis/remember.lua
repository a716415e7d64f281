-- Nonces are remembered from now on, unless they are already. A second is refused whole, since what was spent in its first half may be
-- lost.
redis.call('SET', KEYS[1], tonumber(redis.call('TIME')[1]) + 1, 'NX')
return 1
