-- args: user:int
return redis.call('GET', ('user:%s'):format(ARGV[1])) -- fault: W012 lint
