-- Move units from the stock into a cart; never below zero, all or nothing.
-- keys: stock cart
-- args: item:str amount:int(1..1000)
-- returns: applied:bool left:int
local left = tonumber(redis.call('GET', KEYS[1]) or '0')
local amount = tonumber(ARGV[2])
if left < amount then
  return {0, left}
end
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], 3600)
return {1, left - amount}
