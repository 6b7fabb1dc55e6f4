local names = { hits = 'hits', misses = 'misses' }
return redis.call('GET', names.misses) -- fault: W012 lint
