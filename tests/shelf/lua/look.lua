-- keys: shelf
-- returns: int?
-- flags: no-writes idempotent
return redis.call('GET', KEYS[1])
