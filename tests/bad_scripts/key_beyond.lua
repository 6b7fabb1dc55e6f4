-- keys: a
return redis.call('MGET', KEYS[1], KEYS[2]) -- fault: E017
