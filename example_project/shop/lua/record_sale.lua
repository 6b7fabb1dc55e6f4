-- Count a sale. Statistics must never cost us one: an unusable counter is reported, not raised.
-- keys: sales statistics
-- args: item:str amount:int(1..)
-- returns: sold:int counted:bool
local sold = redis.call('INCRBY', KEYS[1], ARGV[2])
local ok = pcall(redis.call, 'HINCRBY', KEYS[2], ARGV[1], ARGV[2])
return {sold, ok and 1 or 0}
