local r = redis
return r.call('GET', 'hits') -- fault: W012 lint
