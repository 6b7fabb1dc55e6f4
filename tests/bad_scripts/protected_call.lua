return pcall(redis.call, 'GET', 'hits') -- fault: W012 lint
