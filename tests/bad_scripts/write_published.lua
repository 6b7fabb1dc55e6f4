-- flags: no-writes
return redis.call('PUBLISH', 'news', 'x') -- fault: E018
