-- keys: a
local log = KEYS[1] .. ':log'
local key = log
return redis.call('LLEN', key) -- fault: W012 lint, else W103
