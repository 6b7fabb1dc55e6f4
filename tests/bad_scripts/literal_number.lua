return redis.call('GET', 42) -- fault: W012
