-- Put everything in a cart back into the stocks; the stocks come in the items' order.
-- keys: cart *stocks
-- args: *items:str
-- returns: int
-- errors: STOCKS_AND_ITEMS_DIFFER
if #KEYS - 1 ~= #ARGV then
  return redis.error_reply('STOCKS_AND_ITEMS_DIFFER give one stock for each item')
end
local units = 0
for i, item in ipairs(ARGV) do
  local amount = redis.call('HGET', KEYS[1], item)
  if amount then
    redis.call('INCRBY', KEYS[i + 1], amount)
    redis.call('HDEL', KEYS[1], item)
    units = units + tonumber(amount)
  end
end
return units
