-- Ask several rate limits at once: all of them have room and are charged, or none is charged.
--
-- A sliding window ("w") is a log: 16 bytes of header and a ring of 3-byte records, one for each
-- unit of cost that counts, oldest first. A record is the tick it was charged at, modulo 2^24; a
-- tick is a power of two of microseconds, long enough that a unit lives less than 2^23 of them, so
-- that no record is mistaken for one of another turn. A token bucket ("b") is the moment it was
-- last charged and the backlog then, which drains steadily; both are whole numbers.
--
-- A capital letter is a limit in shadow mode: it refuses nothing, and is charged when it has room.
-- "charge" charges, "peek" only tells. A refusal writes nothing. Times are microseconds.
--
-- The terms are of each limit capacity, cost, then window and tick or unit and drain; after the
-- last, for tests only, the time and the shortest TTL. The reply is allowed, now, and of each
-- limit remaining, retry_after (-1: never), reset_after.
--
-- keys: *limits
-- args: kinds:str mode:str *terms:int
-- returns: list
-- errors: WRONGTYPE
local HEADER, RECORD, TURN, EXACT = 16, 3, 2 ^ 24, 2 ^ 53

local kinds, charging, tests = ARGV[1], ARGV[2] == 'charge', 3 + 4 * #KEYS
local now = tonumber(ARGV[tests])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- SET and PEXPIRE take milliseconds: rounded up, so never 0, and as text, which is cheaper.
local function ttl(microseconds)
  return string.format('%.0f', math.max(math.ceil(microseconds / 1000), ARGV[tests + 1] or 0))
end

-- How many ticks ago the record at this place after the head was written.
local function age(i, log, place)
  local at = HEADER + (log.head + place) % log.size * RECORD
  local high, middle, low = string.byte(redis.call('GETRANGE', KEYS[i], at, at + 2), 1, 3)
  return (log.tick_now - high * 65536 - middle * 256 - low) % TURN
end

-- How many records at the head have expired. In steady traffic it is none or one, so the search
-- gallops; it is never linear, as a refusal leaves the expired ones for the next call to find.
local function expired(i, log)
  if log.tick_now - log.newest >= log.life then
    return log.used
  end
  local low, high, stride = 0, 0, 1
  while high < log.used - 1 and age(i, log, high) >= log.life do
    low, high, stride = high + 1, high + stride, stride * 2
  end
  high = math.min(high, log.used - 1)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if age(i, log, middle) >= log.life then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function read_window(i, capacity, cost, window, tick)
  local log = { cost = cost, window = window, tick = tick, head = 0, size = 0, used = 0, newest = 0 }
  -- A unit counts for at least a window: a tick more makes up for the one begun when it came.
  log.life = math.ceil(window / tick) + (tick > 1 and 1 or 0)
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
  -- When the server's clock steps back, this log's stands still.
  log.tick_now = math.max(math.floor(now / tick), log.newest)
  log.dead = expired(i, log)
  log.live = log.used - log.dead
  log.remaining = math.max(capacity - log.live, 0)
  log.retry = 0
  if cost > capacity then
    log.retry = -1
  elseif cost > log.remaining then
    -- Enough has expired when the record at this place has.
    local last = age(i, log, log.dead + log.live + cost - capacity - 1)
    log.retry = (log.tick_now - last + log.life) * tick - now
  end
  log.reset = log.live > 0 and (log.newest + log.life) * tick - now or 0
  return log
end

-- The records that count, as text.
local function live_records(i, log)
  local first = (log.head + log.dead) % log.size
  local ahead = math.min(log.live, log.size - first)
  local from = HEADER + first * RECORD
  local records = redis.call('GETRANGE', KEYS[i], from, from + ahead * RECORD - 1)
  if ahead < log.live then
    records = records .. redis.call('GETRANGE', KEYS[i], HEADER, HEADER + (log.live - ahead) * RECORD - 1)
  end
  return records
end

local function charge_window(i, log, capacity)
  local used = log.live + log.cost
  local records = string.rep(struct.pack('>I3', log.tick_now % TURN), log.cost)
  if log.live > 0 and used <= log.size and log.size <= 4 * used + 32 then
    local head = (log.head + log.dead) % log.size
    local tail = (log.head + log.used) % log.size
    local ahead = (log.size - tail) * RECORD
    redis.call('SETRANGE', KEYS[i], 0, struct.pack('>I7I3I3I3', log.tick_now, head, used, log.size))
    redis.call('SETRANGE', KEYS[i], HEADER + tail * RECORD, string.sub(records, 1, ahead))
    if #records > ahead then
      redis.call('SETRANGE', KEYS[i], HEADER, string.sub(records, ahead + 1))
    end
    redis.call('PEXPIRE', KEYS[i], ttl(log.window))
  else
    -- One SET takes exactly the memory it needs; growing a string in place takes up to twice that.
    local size = math.max(used, math.min(capacity, math.max(8, math.ceil(1.5 * used))))
    redis.call(
      'SET',
      KEYS[i],
      struct.pack('>I7I3I3I3', log.tick_now, 0, used, size)
        .. (log.live > 0 and live_records(i, log) or '')
        .. records
        .. string.rep('\0', (size - used) * RECORD),
      'PX',
      ttl(log.window)
    )
  end
  log.remaining = capacity - used
  log.reset = (log.tick_now + log.life) * log.tick - now
end

local function read_bucket(i, capacity, cost, unit, drain)
  local bucket = { moment = now, backlog = 0, full = capacity * unit, charge = cost * unit, unit = unit, drain = drain, retry = 0 }
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
  bucket.behind = bucket.moment - now
  bucket.remaining = math.max(math.floor((bucket.full - bucket.backlog) / unit), 0)
  if cost > capacity then
    bucket.retry = -1
  elseif cost > bucket.remaining then
    bucket.retry = math.ceil((bucket.backlog + bucket.charge - bucket.full) / drain) + bucket.behind
  end
  bucket.reset = bucket.backlog > 0 and math.ceil(bucket.backlog / drain) + bucket.behind or 0
  return bucket
end

local function charge_bucket(i, bucket)
  local backlog = bucket.backlog + bucket.charge
  local empty = math.ceil(backlog / bucket.drain)
  redis.call('SET', KEYS[i], struct.pack('>dd', bucket.moment, backlog), 'PX', ttl(empty))
  bucket.remaining = math.floor((bucket.full - backlog) / bucket.unit)
  bucket.reset = empty + bucket.behind
end

local states, allowed = {}, true
for i = 1, #KEYS do
  local kind = string.sub(kinds, i, i)
  local read = string.lower(kind) == 'w' and read_window or read_bucket
  local term = 4 * i - 1
  local state = read(
    i,
    tonumber(ARGV[term]),
    tonumber(ARGV[term + 1]),
    tonumber(ARGV[term + 2]),
    tonumber(ARGV[term + 3])
  )
  if not state then
    return redis.error_reply('WRONGTYPE KEYS[' .. i .. '] holds something else than a rate limit')
  end
  states[i] = state
  allowed = allowed and (state.retry == 0 or kind ~= string.lower(kind))
end

local reply = { allowed and 1 or 0, now }
for i, state in ipairs(states) do
  local term = 4 * i - 1
  if charging and allowed and state.retry == 0 and tonumber(ARGV[term + 1]) > 0 then
    local charge = state.life and charge_window or charge_bucket
    charge(i, state, tonumber(ARGV[term]))
  end
  reply[3 * i] = state.remaining
  reply[3 * i + 1] = state.retry
  reply[3 * i + 2] = state.reset
end
return reply
