-- keys: a
return redis.call('GET', redis.call('GET', KEYS[1])) -- fault: W012 lint
