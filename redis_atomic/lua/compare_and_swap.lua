-- Replace a value, create it or delete it, if it is what the caller expects.
-- keys: value
-- args: action:str expected:bytes new:bytes ttl:int?
-- returns: swapped:bool current:bytes?
--
-- action is "swap", "create" (expected is not looked at: the key must be missing)
-- or "delete" (new is not looked at). On success the caller knows what is there.
local current = redis.call('GET', KEYS[1])
if current ~= (ARGV[1] ~= 'create' and ARGV[2]) then
  return {0, current}
end
if ARGV[1] == 'delete' then
  redis.call('DEL', KEYS[1])
elseif ARGV[4] then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
end
return {1}
