-- args: user:int
local function name(user)
  return 'user:' .. user
end
return redis.call('GET', name(ARGV[1])) -- fault: W012 lint
