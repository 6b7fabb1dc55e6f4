-- keys: a
local key = KEYS[1]
return redis.call('GET', key) -- fault: W103
