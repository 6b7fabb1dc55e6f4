return redis.pcall('GET', 'hits') -- fault: W012
