-- Add to several fields of a hash: to all, or to none.
-- keys: hash
-- args: ttl:int(0..) count:int(1..) *fields:str
-- returns: list
-- errors: NOTANINTEGER INTEGEROVERFLOW
--
-- ttl is 0 for none. After the fields come as many amounts.

-- Is the sum, or an amount alone, an integer of 64 bits? In two parts, as doubles round.
local function fits(a, b)
  local high, low = 0, 0
  for _, text in ipairs({a, b}) do
    local sign, digits = string.match(text, '^(%-?)(%d+)$')
    local unit = sign == '-' and -1 or 1
    high = high + unit * (tonumber(string.sub(digits, 1, -10)) or 0)
    low = low + unit * tonumber(string.sub(digits, -9))
  end
  high, low = high + math.floor(low / 1e9), low % 1e9
  return (high > -9223372037 or high == -9223372037 and low >= 145224192)
    and (high < 9223372036 or high == 9223372036 and low <= 854775807)
end

local function shown(field)
  return '"' .. string.gsub(field, '%c', '?') .. '"'
end

local count = tonumber(ARGV[2])
local large = {}
for first = 1, count, 1000 do
  local last = math.min(first + 999, count)
  local values = redis.call('HMGET', KEYS[1], unpack(ARGV, first + 2, last + 2))
  for i = first, last do
    local value, amount = values[i - first + 1] or '0', ARGV[i + 2 + count]
    if value ~= '0' and not string.find(value, '^-?[1-9]%d*$')
      or #value > 20 or #value > 15 and not fits(value, '0') then
      return redis.error_reply('NOTANINTEGER KEYS[1] holds no signed 64-bit integer in field '
        .. shown(ARGV[i + 2]))
    end
    if #value > 15 or #amount > 15 then
      if not fits(value, amount) then
        return redis.error_reply('INTEGEROVERFLOW KEYS[1] would exceed 64 bits in field '
          .. shown(ARGV[i + 2]))
      end
      large[i] = true
    end
  end
end

local results = {}
for i = 1, count do
  results[i] = redis.call('HINCRBY', KEYS[1], ARGV[i + 2], ARGV[i + 2 + count])
  -- The reply is a double, exact below 2^53 only; the stored text always is.
  if large[i] then results[i] = redis.call('HGET', KEYS[1], ARGV[i + 2]) end
end
if ARGV[1] ~= '0' and redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return results
