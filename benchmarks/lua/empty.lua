-- Nothing: what a call costs by itself.
-- keys: key
-- returns: int
return 1
