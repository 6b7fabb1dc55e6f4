-- Give back what a token has: its slot, its place in the queue.
-- keys: wake fence queue alive *slots
-- args: token:str leave:bool tombstone:int(0..) terms:str
-- returns: bool
-- undeclared: wake
--
-- Release and giving up in one. It touches nothing of any other token, so it may be sent
-- again and arrive late. Times are milliseconds. The slot goes straight to the first in the
-- queue. A tombstone refuses a request of this token that is still under way. The terms, for
-- who comes next, are one text, as few arguments take less time: "grant fence_memory wakes".
local token = ARGV[1]
local values = redis.call('MGET', unpack(KEYS, 5))

local slot
for i = 5, #KEYS do
  local value = values[i - 4]
  if value and string.match(value, '^%d+:(.*)$') == token then slot = i end
end
local waited = redis.call('EXISTS', KEYS[3]) == 1
if ARGV[2] == '1' or waited then
  redis.call('LLEN', KEYS[3]) -- errors, if any, while nothing has been written
  redis.call('HLEN', KEYS[4])
end

if ARGV[2] == '1' then
  redis.call('LREM', KEYS[3], 0, token)
  redis.call('HDEL', KEYS[4], token)
  redis.call('DEL', KEYS[1])
end

if slot and not waited then
  redis.call('DEL', KEYS[slot])
elseif slot then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  -- The counter alone falls back after a flush, the clock alone when it is set back. By MGET,
  -- which knows no errors: it is late for one.
  local fence = tonumber(redis.call('MGET', KEYS[2])[1] or '') or 0
  local grant, fence_memory, wakes = string.match(ARGV[4], '^(%d+) (%d+) (%d)$')

  local function settle(i)
    local head = redis.call('LPOP', KEYS[3])
    while head do
      local alive = redis.call('HGET', KEYS[4], head)
      redis.call('HDEL', KEYS[4], head)
      -- No more than a hint: who is not known to be gone is there.
      if (tonumber(alive or '') or math.huge) * 1000 >= now then
        fence = math.max(fence + 1, now)
        local number = string.format('%.0f', fence)
        redis.call('SET', KEYS[2], number, 'PX', fence_memory)
        redis.call('SET', KEYS[i], number .. ':' .. head, 'PX', grant)
        if wakes == '1' then
          -- The one key that cannot be declared. Refused, it costs the head a moment, no more.
          local wake = string.sub(KEYS[1], 1, -1 - #token) .. head
          redis.pcall('RPUSH', wake, number)
          redis.pcall('PEXPIRE', wake, grant)
        end
        return head
      end
      head = redis.call('LPOP', KEYS[3])
    end
  end

  if not settle(slot) then redis.call('DEL', KEYS[slot]) end
end

if ARGV[3] ~= '0' then redis.call('SET', KEYS[1], 'finished', 'PX', ARGV[3]) end
return slot and 1 or 0
