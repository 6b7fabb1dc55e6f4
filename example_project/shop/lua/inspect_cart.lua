-- How many different items a cart holds; says so in the server's log.
-- keys: cart
-- returns: int
-- flags: no-writes
local items = redis.call('HLEN', KEYS[1])
-- Sizes only: what is in the cart is the customer's business, not the log's.
redis.log(redis.LOG_NOTICE, 'cart inspected, items: ' .. items)
return items
