local function run(...)
  return redis.call(...)
end
return run('GET', 'hits') -- fault: W012 lint
