-- Move an amount from one counter to another, keeping a minimum; once for each request.
-- keys: source destination *request
-- args: amount:int(1..) debit:int needed:str room:str request_ttl:int(1..)?
-- returns: moved:bool source:int destination:int
-- errors: NOTANINTEGER INTEGEROVERFLOW SAMEKEY REQUESTREUSED
--
-- debit is -amount, needed is minimum + amount, room is the highest destination that can
-- take the amount. The request key holds the outcome, and the arguments it is of.

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

if KEYS[1] == KEYS[2] or KEYS[2] == KEYS[3] then
  return redis.error_reply('SAMEKEY the keys of a transfer must be different')
end

local arguments
if KEYS[3] then
  arguments = ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. KEYS[2]
  local known = redis.pcall('GET', KEYS[3])
  if known then
    if type(known) == 'table' then return redis.error_reply(known.err .. ' (KEYS[3])') end
    local moved, source, destination, of = string.match(known, '^([01]) (%S+) (%S+) (.*)$')
    if of ~= arguments then
      return redis.error_reply('REQUESTREUSED the request_id belongs to a transfer with '
      .. 'another destination, amount or minimum')
    end
    return {tonumber(moved), source, destination}
  end
end

local source = redis.pcall('GET', KEYS[1]) or '0'
if type(source) == 'table' then return redis.error_reply(source.err .. ' (KEYS[1])') end
local destination = redis.pcall('GET', KEYS[2]) or '0'
if type(destination) == 'table' then return redis.error_reply(destination.err .. ' (KEYS[2])') end
if not is_integer(source) then
  return redis.error_reply('NOTANINTEGER KEYS[1] does not hold a signed 64-bit integer')
end
if not is_integer(destination) then
  return redis.error_reply('NOTANINTEGER KEYS[2] does not hold a signed 64-bit integer')
end

local moved = less(source, ARGV[3]) and 0 or 1
if moved == 1 then
  if less(ARGV[4], destination) then
    return redis.error_reply('INTEGEROVERFLOW KEYS[2] cannot take the amount: it holds ' .. destination)
  end
  source = redis.call('INCRBY', KEYS[1], ARGV[2])
  destination = redis.call('INCRBY', KEYS[2], ARGV[1])
  -- These are doubles: exact below 2^53, written exactly below 10^14. The stored text always is.
  local exact = KEYS[3] and 1e14 or 2^53
  if source <= -exact or source >= exact then source = redis.call('GET', KEYS[1]) end
  if destination <= -exact or destination >= exact then destination = redis.call('GET', KEYS[2]) end
end
if KEYS[3] then
  local outcome = moved .. ' ' .. source .. ' ' .. destination .. ' '
  redis.call('SET', KEYS[3], outcome .. arguments, 'PX', ARGV[5])
end
return {moved, source, destination}
