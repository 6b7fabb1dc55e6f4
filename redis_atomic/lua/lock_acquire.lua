-- Take a free slot of a lock, or a place in its queue.
-- keys: wake fence queue alive *slots
-- args: token:str ttl:int(1..) fence_memory:int(1..) terms:str
-- returns: state:str number:int index:int
-- undeclared: wake
--
-- HELD fence slot | BUSY milliseconds-until-a-slot-may-be-free place-in-the-queue | FINISHED.
-- Times are milliseconds. It may be sent again after a lost reply, and arrive late: a token
-- that holds already keeps its slot and its fence, one that waits keeps its place.
--
-- What only a queue needs is left to it: the terms of waiting are one text, "queueing
-- alive_for queue_ttl grant wakes", as few arguments take less time, and functions are made
-- where there is somebody to wait for.
local token, ttl, fence_memory = ARGV[1], ARGV[2], ARGV[3]

-- One look at all: a list in "wake" reads as nothing, a string there as a tombstone.
local values = redis.call('MGET', KEYS[1], KEYS[2], unpack(KEYS, 5))
if values[1] then return {'FINISHED', 0, 0} end

local free
for i = 5, #KEYS do
  local value = values[i - 2]
  if not value then
    free = free or i
  else
    local fence, owner = string.match(value, '^(%d+):(.*)$')
    if owner == token then
      if redis.call('PTTL', KEYS[i]) < tonumber(ttl) then redis.call('PEXPIRE', KEYS[i], ttl) end
      return {'HELD', tonumber(fence), i - 4}
    end
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local fence = tonumber(values[2]) or 0

local mine = free
if not mine or redis.call('EXISTS', KEYS[3]) == 1 then
  local queueing, alive_for, queue_ttl, grant, wakes =
    string.match(ARGV[4], '^(%d) (%d+) (%d+) (%d+) (%d)$')

  -- Give a free slot to the first in the queue who is still there.
  local function settle(i, me)
    local head = redis.call('LPOP', KEYS[3])
    while head do
      local alive = redis.call('HGET', KEYS[4], head)
      redis.call('HDEL', KEYS[4], head)
      if head == me then return me end
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

  redis.call('HLEN', KEYS[4]) -- an error, if any, while nothing has been written

  if queueing == '1' then
    -- Without memory a server refuses what grows, unless a write went before: so it comes first.
    if redis.call('LPOS', KEYS[3], token) then
      redis.call('PEXPIRE', KEYS[3], queue_ttl)
    else
      redis.call('RPUSH', KEYS[3], token)
      redis.call('PEXPIRE', KEYS[3], queue_ttl)
    end
    redis.call('HSET', KEYS[4], token, string.format('%.0f', math.floor(now / 1000) + alive_for))
    redis.call('PEXPIRE', KEYS[4], queue_ttl)
  end

  -- Behind the queue.
  mine = nil
  for i = free or #KEYS + 1, #KEYS do
    if not values[i - 2] then
      local owner = settle(i, token)
      if owner == token or not owner then
        mine = i
        break
      end
    end
  end

  if not mine then
    local soonest
    for i = 5, #KEYS do
      local left = redis.call('PTTL', KEYS[i])
      if left == -1 then left = 60000 end -- not one of ours: somebody wrote it by hand
      soonest = math.min(soonest or left, math.max(left, 1))
    end
    return {'BUSY', soonest, redis.call('LPOS', KEYS[3], token) or -1}
  end
end

-- The counter alone falls back after a flush, the clock alone when it is set back.
fence = math.max(fence + 1, now)
local number = string.format('%.0f', fence)
redis.call('SET', KEYS[2], number, 'PX', fence_memory)
redis.call('SET', KEYS[mine], number .. ':' .. token, 'PX', ttl)
return {'HELD', fence, mine - 4}
