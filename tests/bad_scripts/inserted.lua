-- args: *names:str
local names = {}
for _, name in ipairs(ARGV) do table.insert(names, 'user:' .. name) end
return redis.call('DEL', unpack(names)) -- fault: W012 lint
