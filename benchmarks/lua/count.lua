-- One command, as most scripts of a project are.
-- keys: counter
-- returns: int
return redis.call('INCR', KEYS[1])
