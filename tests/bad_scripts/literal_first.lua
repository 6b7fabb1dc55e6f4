-- keys: a
local usual = 'hits'
return redis.call('GET', usual or KEYS[1]) -- fault: W012 lint
