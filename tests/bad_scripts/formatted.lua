-- args: user:int
return redis.call('GET', string.format('user:%s', ARGV[1])) -- fault: W012 lint
