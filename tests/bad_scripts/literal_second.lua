-- keys: a
return redis.call('MGET', KEYS[1], 'hits') -- fault: W012
