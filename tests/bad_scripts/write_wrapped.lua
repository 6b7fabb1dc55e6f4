-- keys: a
-- flags: no-writes
local function run(command, ...)
  return redis.call(command, ...)
end
return run('DEL', KEYS[1]) -- fault: E018 lint
