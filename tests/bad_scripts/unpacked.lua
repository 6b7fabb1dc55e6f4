-- args: *names:str
local names = {}
for i, name in ipairs(ARGV) do names[i] = 'user:' .. name end
return redis.call('DEL', unpack(names)) -- fault: W012 lint
