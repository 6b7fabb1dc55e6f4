-- keys: a
-- flags: no-writes
return redis.pcall('incr', KEYS[1]) -- fault: E018
