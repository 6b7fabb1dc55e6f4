-- Let a lease last at least so many milliseconds from now.
-- keys: slot
-- args: lease:str ttl:int(1..)
-- returns: bool
--
-- The lease is "fence:token", both: a token alone could have been granted anew, behind the
-- back of its owner, after somebody else held the lock. Never shortens, never takes a free slot.
local ttl = tonumber(ARGV[2])
if redis.call('MGET', KEYS[1])[1] ~= ARGV[1] then return 0 end
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end
return 1
