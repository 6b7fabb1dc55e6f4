-- args: name:str
return redis.call('GET', ARGV[1]) -- fault: W012
