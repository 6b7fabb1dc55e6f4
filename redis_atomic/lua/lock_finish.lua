-- Give back what a token has: its slot, its place in the queue.
-- keys: wake fence queue alive *slots
-- args: token:str leave:bool tombstone:int(0..) grant:int(1..) fence_memory:int(1..) wakes:bool
-- returns: bool
-- undeclared: wake
--
-- Release and giving up in one. It touches nothing of any other token, so it may be sent
-- again and arrive late. Times are milliseconds. The slot goes straight to the first in the
-- queue. A tombstone refuses a request of this token that is still under way.
local token = ARGV[1]
local values = redis.call('MGET', KEYS[2], unpack(KEYS, 5))

local slot
for i = 5, #KEYS do
  local value = values[i - 3]
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
  local fence = tonumber(values[1]) or 0

  local function mint()
    -- The counter alone falls back after a flush, the clock alone when it is set back.
    fence = math.max(fence + 1, now)
    local number = string.format('%.0f', fence)
    redis.call('SET', KEYS[2], number, 'PX', ARGV[5])
    return number
  end

  local function settle(i)
    local head = redis.call('LPOP', KEYS[3])
    while head do
      local alive = redis.call('HGET', KEYS[4], head)
      redis.call('HDEL', KEYS[4], head)
      -- No more than a hint: who is not known to be gone is there.
      if (tonumber(alive or '') or math.huge) * 1000 >= now then
        local number = mint()
        redis.call('SET', KEYS[i], number .. ':' .. head, 'PX', ARGV[4])
        if ARGV[6] == '1' then
          -- The one key that cannot be declared. Refused, it costs the head a moment, no more.
          local wake = string.sub(KEYS[1], 1, -1 - #token) .. head
          redis.pcall('RPUSH', wake, number)
          redis.pcall('PEXPIRE', wake, ARGV[4])
        end
        return head
      end
      head = redis.call('LPOP', KEYS[3])
    end
  end

  if not settle(slot) then redis.call('DEL', KEYS[slot]) end
end

if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], 'finished', 'PX', ARGV[3]) end
return slot and 1 or 0
