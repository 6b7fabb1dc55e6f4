-- keys: a
local hits = redis.call('GET', KEYS[1])
if hits and hits > 5 then return 1 end -- fault: W017 lint
