-- keys: a
-- flags: no-writes
local command = 'DEL'
return redis.call(command, KEYS[1]) -- fault: E018 lint
