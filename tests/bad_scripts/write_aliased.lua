-- keys: a
-- flags: no-writes
local call = redis.call
return call('DEL', KEYS[1]) -- fault: E018 lint
