-- keys: a
-- flags: no-writes
return redis.call('SET', KEYS[1], 1) -- fault: E018
