-- keys: members
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  redis.call('DEL', member) -- fault: W012 lint, else W103
end
