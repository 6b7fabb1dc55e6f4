-- Add to a counter; where the key then has no expiry, give it one.
-- keys: counter
-- args: amount:int ttl:int(1..)
-- returns: int
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
-- In Lua the reply is a double, exact below 2^53 only; the stored text always is.
return value > -2^53 and value < 2^53 and value or redis.call('GET', KEYS[1])
