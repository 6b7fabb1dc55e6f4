-- keys: a
local name = KEYS[1]
if #name > 9 then name = 'long' end
return redis.call('GET', name) -- fault: W012 lint, else W103
