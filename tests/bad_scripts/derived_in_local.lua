-- keys: a
local log = KEYS[1] .. ':log'
return redis.call('LLEN', log) -- fault: W012
