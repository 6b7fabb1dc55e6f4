-- keys: a
return redis.call('GET', KEYS[1] .. ':x') -- fault: W012
