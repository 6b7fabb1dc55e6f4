-- keys: a
local keys = KEYS
return redis.call('MGET', KEYS[1], keys[2]) -- fault: E017 lint
