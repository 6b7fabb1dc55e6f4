local name = 'hits'
return redis.call('GET', name) -- fault: W012
