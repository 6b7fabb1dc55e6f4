-- Take units off the shelf, never below zero.
-- keys: shelf
-- args: amount:int(1..)
-- returns: taken:bool left:int
local left = tonumber(redis.call('GET', KEYS[1]) or 0)
local amount = tonumber(ARGV[1])
if amount > left then
  return {false, left}
end
return {true, redis.call('DECRBY', KEYS[1], ARGV[1])}
