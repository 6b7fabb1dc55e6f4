-- Give back what a rate limit was charged: from a window exactly these units, or nothing once
-- they have left it; from a bucket at most what of the charge has not drained yet.
--
-- "end" is the moment at which the charge would have ended had none come after it. It tells
-- which tick a window's units were recorded at, and how much of a bucket's may be left. Units
-- of one tick are alike, so they need no names. See rate_limit.lua for the keys' contents.
--
-- There is one text for each limit, as rate_limit.lua has it, but with the end for the capacity.
-- After the last, for tests only, comes the time. The reply is the units given back, of a bucket
-- rounded down.
--
-- keys: *limits
-- args: *terms:bytes
-- returns: list
-- errors: WRONGTYPE
local HEADER, RECORD, TURN, EXACT = 16, 3, 2 ^ 24, 2 ^ 53

local now = tonumber(ARGV[#KEYS + 1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- The first place whose record is younger than this, as ages before the newest record.
local function first_younger(i, log, than)
  local low, high = 0, log.used
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at = HEADER + (log.head + middle) % log.size * RECORD
    local a, b, c = string.byte(redis.call('GETRANGE', KEYS[i], at, at + 2), 1, 3)
    if (log.newest - a * 65536 - b * 256 - c) % TURN >= than then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Read the records from one place up to another, or write them; the ring may come round between.
local function records(i, log, from, to)
  local first = (log.head + from) % log.size
  local ahead = math.min(to - from, log.size - first)
  local at = HEADER + first * RECORD
  local text = redis.call('GETRANGE', KEYS[i], at, at + ahead * RECORD - 1)
  if ahead < to - from then
    text = text .. redis.call('GETRANGE', KEYS[i], HEADER, HEADER + (to - from - ahead) * RECORD - 1)
  end
  return text
end

local function put(i, log, from, text)
  local first = (log.head + from) % log.size
  local ahead = (log.size - first) * RECORD
  redis.call('SETRANGE', KEYS[i], HEADER + first * RECORD, string.sub(text, 1, ahead))
  if #text > ahead then
    redis.call('SETRANGE', KEYS[i], HEADER, string.sub(text, ahead + 1))
  end
end

local function read_window(i, stop, cost, life, tick)
  local log = { cost = cost, life = life, head = 0, used = 0, size = 0, newest = 0 }
  local header = redis.call('GETRANGE', KEYS[i], 0, HEADER - 1)
  if header ~= '' then
    if #header < HEADER then
      return nil
    end
    log.newest, log.head, log.used, log.size = struct.unpack('>I7I3I3I3', header)
    if log.newest >= EXACT or log.used > log.size or log.head >= log.size then
      return nil
    end
  end
  log.age = log.newest - (stop / tick - life)
  log.left = now >= stop
  return log
end

local function refund_window(i, log)
  if log.left or log.age < 0 or log.age >= log.life then
    return 0
  end
  local stop = first_younger(i, log, log.age)
  local units = math.min(log.cost, stop - first_younger(i, log, log.age + 1))
  local used = log.used - units
  if units == 0 then
    return 0
  end
  if used == 0 then
    redis.call('DEL', KEYS[i])
    return units
  end
  if stop < log.used then
    put(i, log, stop - units, records(i, log, stop, log.used))
  end
  local a, b, c = string.byte(records(i, log, used - 1, used), 1, 3)
  local newest = log.newest - (log.newest - a * 65536 - b * 256 - c) % TURN
  redis.call('SETRANGE', KEYS[i], 0, struct.pack('>I7I3I3I3', newest, log.head, used, log.size))
  return units
end

local function read_bucket(i, stop, cost, unit, drain)
  local bucket = { moment = now, backlog = 0, unit = unit, drain = drain }
  local state = redis.call('GET', KEYS[i])
  if state then
    if #state ~= 16 then
      return nil
    end
    local moment, backlog = struct.unpack('>dd', state)
    if not (moment < EXACT and moment % 1 == 0 and backlog < EXACT and backlog % 1 == 0) then
      return nil
    end
    bucket.moment = math.max(now, moment)
    bucket.backlog = math.max(backlog - (bucket.moment - moment) * drain, 0)
  end
  local left = math.max(stop - bucket.moment, 0) * drain
  bucket.charge = math.min(cost * unit, left, bucket.backlog)
  return bucket
end

local function refund_bucket(i, bucket)
  local backlog = bucket.backlog - bucket.charge
  if backlog > 0 and bucket.charge > 0 then
    redis.call('SET', KEYS[i], struct.pack('>dd', bucket.moment, backlog), 'KEEPTTL')
  elseif bucket.charge > 0 then
    redis.call('DEL', KEYS[i])
  end
  return math.floor(bucket.charge / bucket.unit)
end

local states, given = {}, {}
for i = 1, #KEYS do
  local kind, stop, cost, third, fourth = struct.unpack('>c1I7I7I7I7s', ARGV[i])
  local read = string.lower(kind) == 'w' and read_window or read_bucket
  local state = read(i, stop, cost, third, fourth)
  if not state then
    return redis.error_reply('WRONGTYPE KEYS[' .. i .. '] holds something else than a rate limit')
  end
  states[i] = state
end
for i, state in ipairs(states) do
  given[i] = (state.life and refund_window or refund_bucket)(i, state)
end
return given
