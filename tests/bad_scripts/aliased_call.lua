local call = redis.call
return call('GET', 'hits') -- fault: W012 lint
