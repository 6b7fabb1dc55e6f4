-- keys: a
local hits = redis.call('GET', KEYS[1])
return hits + 1 -- fault: W017 lint
