-- keys: a
return redis.call('GET', KEYS[1]) + 1 -- fault: W017 lint
