-- keys: a
return redis.cal('GET', KEYS[1]) -- fault: E020 lint
