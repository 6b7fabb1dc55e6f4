-- Who holds a lock, for how long, and who waits for it.
-- keys: queue *slots
-- args: waiters:int(0..)
-- returns: list
-- flags: no-writes
--
-- The length of the queue, its first tokens, then the value and the milliseconds left of each slot.
local reply = {redis.call('LLEN', KEYS[1]), {}}
if tonumber(ARGV[1]) > 0 then reply[2] = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1) end
for i = 2, #KEYS do
  reply[#reply + 1] = redis.call('MGET', KEYS[i])[1] or ''
  reply[#reply + 1] = redis.call('PTTL', KEYS[i])
end
return reply
