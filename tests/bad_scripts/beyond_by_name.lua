-- keys: a
-- args: b:str
local SECOND = 2
return redis.call('HGET', KEYS[1], ARGV[1]) or ARGV[SECOND] -- fault: E017 lint
