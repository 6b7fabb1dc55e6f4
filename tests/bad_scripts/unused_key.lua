-- Whose second key is never used. (fault: W013)
-- keys: a b
return redis.call('GET', KEYS[1])
