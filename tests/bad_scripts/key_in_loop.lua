-- keys: *all
for _, key in ipairs(KEYS) do
  redis.call('DEL', key) -- fault: W103
end
