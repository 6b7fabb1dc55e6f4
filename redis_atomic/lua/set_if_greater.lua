-- Store an integer that is greater than the stored one; a missing one is less than any.
-- keys: key
-- args: value:int ttl:int?
-- returns: stored:bool current:int?
-- errors: NOTANINTEGER

-- Doubles round, but never change an order: only where they are equal do digits decide.
local function less(a, b)
  local x, y = tonumber(a), tonumber(b)
  if x ~= y then return x < y end
  if #a ~= #b then return (#a < #b) == (x > 0) end
  return a ~= b and (a < b) == (x > 0)
end

-- What INCRBY takes for an integer: plain decimal, in 64 bits.
local function is_integer(text)
  if not string.find(text, '^-?[1-9]%d*$') then return text == '0' end
  return #text < 19 or not (less(text, '-9223372036854775808') or less('9223372036854775807', text))
end

local current = redis.call('GET', KEYS[1])
if current then
  if not is_integer(current) then
    return redis.error_reply('NOTANINTEGER KEYS[1] does not hold a signed 64-bit integer')
  end
  if not less(current, ARGV[1]) then return {0, current} end
end

if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
end
return {1}
