-- keys: a
local command = KEYS[1] and 'SCARD' or 'LLEN'
return redis.call(command, 'hits') -- fault: W012 lint
