-- keys: a
-- flags: no-writes
return pcall(redis.call, 'DEL', KEYS[1]) -- fault: E018 lint
