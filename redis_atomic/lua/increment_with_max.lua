-- Add a positive amount to a counter, unless that exceeds a maximum.
-- keys: counter
-- args: amount:int(1..) room:str maximum:str ttl:int?
-- returns: applied:bool value:int
-- errors: NOTANINTEGER MAXIMUMEXCEEDED
--
-- room is maximum - amount, the highest value that may still grow. maximum is given
-- where a refusal is to be an error, and empty where it is to be a result.

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

local current = redis.call('GET', KEYS[1]) or '0'
if not is_integer(current) then
  return redis.error_reply('NOTANINTEGER KEYS[1] does not hold a signed 64-bit integer')
end
if less(ARGV[2], current) then
  if ARGV[3] == '' then return {0, current} end
  return redis.error_reply('MAXIMUMEXCEEDED KEYS[1] holds ' .. current .. ': '
    .. ARGV[1] .. ' more would exceed the maximum of ' .. ARGV[3])
end

local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if ARGV[4] and redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
-- In Lua the reply is a double, exact below 2^53 only; the stored text always is.
return {1, value > -2^53 and value < 2^53 and value or redis.call('GET', KEYS[1])}
