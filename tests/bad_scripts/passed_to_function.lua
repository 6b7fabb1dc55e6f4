-- keys: a
local log = KEYS[1] .. ':log'
local function size(key)
  return redis.call('LLEN', key) -- fault: W012 lint, else W103
end
return size(log)
