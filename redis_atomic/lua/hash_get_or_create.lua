-- Return a hash; where there is none, create it with these fields.
-- keys: hash
-- args: ttl:int(0..) **fields:str
-- returns: list
--
-- The reply is empty where the hash was created. ttl is 0 for none, and counts only where the hash is created.
local fields = redis.call('HGETALL', KEYS[1])
if #fields > 0 then
  return fields
end
for first = 2, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
if ARGV[1] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {}
