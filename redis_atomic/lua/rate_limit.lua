-- Ask several rate limits at once: all of them have room and are charged, or none is charged.
--
-- A sliding window ("w") is a log: 16 bytes of header and a ring of 3-byte records, one for each
-- unit of cost that counts, oldest first. A record is the tick it was charged at, modulo 2^24; a
-- tick is a power of two of microseconds, long enough that a unit lives less than 2^23 of them, so
-- that no record is mistaken for one of another turn. A small log is written as a whole, a large
-- one piece by piece. A token bucket ("b") is the moment it was last charged and its
-- backlog then, which drains steadily; both are whole numbers.
--
-- A capital letter is a limit in shadow mode: it refuses nothing, and is charged when it has room.
-- "charge" charges, "peek" only tells. A refusal writes nothing. Times are microseconds.
--
-- There is one text for each limit, as few arguments take less time, and packed, as that is read
-- sooner: kind, capacity, cost; of a window the ticks for which a unit counts and the tick, of a
-- bucket unit and drain; the TTL of a window in digits, milliseconds, as PEXPIRE takes it. After
-- the last, for tests only, come the time and the shortest TTL. The reply is allowed, now, and of
-- each limit remaining, retry_after (-1: never), reset_after.
--
-- Offsets go to Redis as text: it would write a number with 17 digits, which takes longer than all
-- of the arithmetic here. Functions are few, as each is made anew at every call.
--
-- keys: *limits
-- args: mode:str *terms:bytes
-- returns: list
-- errors: WRONGTYPE
local HEADER, RECORD, TURN, EXACT = 16, 3, 2 ^ 24, 2 ^ 53
local FORMAT = '>I7I3I3I3' -- the newest record's whole tick, the ring's head, records and places
local TERMS = '>c1I7I7I7I7s'
local READ_AHEAD = '318' -- with the header come the records of all but large logs
local WHOLE = 48 -- places of a log that is written whole: more take longer than to write one
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local test_time, test_ttl = ARGV[#KEYS + 2], ARGV[#KEYS + 3]

local now = test_time
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
now = now + 0

-- How many ticks ago the record at this place of the ring was written.
local function age(i, log, place, tick_now)
  local at = HEADER + place * RECORD
  local high, middle, low = string.byte(log, at + 1, at + RECORD)
  if not low then
    local record = redis.call('GETRANGE', KEYS[i], at .. '', at + RECORD - 1 .. '')
    high, middle, low = string.byte(record, 1, RECORD)
  end
  return (tick_now - high * 65536 - middle * 256 - low) % TURN
end

-- Read all.
local states, reply, allowed = {}, { 0, now, 0, 0, 0 }, true
-- Of the limit at hand, a window or a bucket. What was read last is not put aside, so that one
-- limit, the usual case, needs no table.
local kind, capacity, cost, third, fourth, ttl
local tick_now, head, used, size, log
local moment, backlog
for i = 1, #KEYS do
  if i > 1 then
    states[i - 1] =
      { kind, capacity, cost, third, fourth, ttl, tick_now, head, used, size, log, moment, backlog }
  end
  kind, capacity, cost, third, fourth, ttl = struct.unpack(TERMS, ARGV[i + 1])
  local free, retry, reset
  local foreign = false

  if kind == 'w' or kind == 'W' then
    local life, tick = third, fourth
    local newest, dead = 0, 0
    tick_now, head, used, size = floor(now / tick), 0, 0, 1
    log = redis.call('GETRANGE', KEYS[i], '0', READ_AHEAD)
    if log ~= '' then
      if #log > HEADER then
        newest, head, used, size = struct.unpack(FORMAT, log)
      end
      foreign = used == 0 or used > size or head >= size or newest >= EXACT
      -- When the server's clock steps back, this log's stands still.
      tick_now = max(tick_now, newest)
    end
    if foreign or tick_now - newest >= life then
      dead = used
    elseif age(i, log, head, tick_now) >= life then
      -- Look for the oldest that counts by leaps and then by halves: mostly it is near, and it
      -- must not take long where refusals, which write nothing, have left many to pass over.
      local counts, leap = 1, 1
      dead = 1
      while counts < used - 1 and age(i, log, (head + counts) % size, tick_now) >= life do
        dead, counts, leap = counts + 1, counts + leap, leap * 2
      end
      counts = min(counts, used - 1)
      while dead < counts do
        local middle = floor((dead + counts) / 2)
        if age(i, log, (head + middle) % size, tick_now) >= life then
          dead = middle + 1
        else
          counts = middle
        end
      end
    end
    head, used = (head + dead) % size, used - dead
    free, retry = max(capacity - used, 0), 0
    if cost > free and cost > 0 and cost <= capacity then
      -- Enough has left when the record at this place has.
      local last = (head + used + cost - capacity - 1) % size
      retry = (tick_now - age(i, log, last, tick_now) + life) * tick - now
    end
    reset = used > 0 and (newest + life) * tick - now or 0
  else
    local unit, drain = third, fourth
    moment, backlog = now, 0
    local bucket = redis.call('GET', KEYS[i])
    if bucket then
      local before = -1
      if #bucket == 16 then
        before, backlog = struct.unpack('>dd', bucket)
      end
      foreign = not (before >= 0 and before < EXACT and backlog >= 0 and backlog < EXACT)
      -- Here, too, time stands still until the server's clock has caught up.
      moment = max(now, before)
      backlog = max(backlog - (moment - before) * drain, 0)
    end
    local full, charged = capacity * unit, backlog + cost * unit
    free, retry = max(floor((full - backlog) / unit), 0), 0
    if cost > free and cost > 0 and cost <= capacity then
      retry = ceil((charged - full) / drain) + moment - now
    end
    reset = backlog > 0 and ceil(backlog / drain) + moment - now or 0
  end

  if foreign then
    return redis.error_reply('WRONGTYPE KEYS[' .. i .. '] holds something else than a rate limit')
  elseif cost > capacity then
    retry = -1
  end
  reply[3 * i], reply[3 * i + 1], reply[3 * i + 2] = free, retry, reset
  allowed = allowed and (retry == 0 or kind == 'W' or kind == 'B')
end

if not allowed then
  return reply
end
reply[1] = 1
if ARGV[1] == 'peek' then
  return reply
end

-- Write all, but limits in shadow mode that have no room: the last first, as it is at hand.
for i = #KEYS, 1, -1 do
  if i < #KEYS then
    kind, capacity, cost, third, fourth, ttl, tick_now, head, used, size, log, moment, backlog =
      unpack(states[i], 1, 13)
  end
  if cost == 0 or reply[3 * i + 1] ~= 0 then
    -- Nothing to charge.
  elseif kind == 'w' or kind == 'W' then
    local life, tick, live = third, fourth, used
    local new = struct.pack('>I3', tick_now % TURN)
    if cost > 1 then
      new = string.rep(new, cost)
    end
    used = live + cost
    ttl = test_ttl or ttl
    if size > WHOLE and live > 0 and used <= size and size <= 4 * used + 32 then
      local tail = (head + live) % size
      local at, ahead = HEADER + tail * RECORD .. '', (size - tail) * RECORD
      redis.call('SETRANGE', KEYS[i], '0', struct.pack(FORMAT, tick_now, head, used, size))
      if #new <= ahead then
        redis.call('SETRANGE', KEYS[i], at, new)
      else
        redis.call('SETRANGE', KEYS[i], at, string.sub(new, 1, ahead))
        redis.call('SETRANGE', KEYS[i], HEADER .. '', string.sub(new, ahead + 1))
      end
      redis.call('PEXPIRE', KEYS[i], ttl)
    else
      -- One SET takes exactly the memory it needs; growing in place takes up to twice as much.
      local room = used
      if used > WHOLE then
        room = max(used, min(capacity, ceil(1.5 * used)))
        new = new .. string.rep('\0', (room - used) * RECORD)
      end
      local at, ahead = HEADER + head * RECORD, min(live, size - head)
      local old = ''
      if size <= WHOLE then
        old = string.sub(log, at + 1, at + live * RECORD) -- written whole, it does not come round
      elseif live > 0 then
        old = redis.call('GETRANGE', KEYS[i], at .. '', at + ahead * RECORD - 1 .. '')
        if ahead < live then
          local stop = HEADER + (live - ahead) * RECORD - 1 .. ''
          old = old .. redis.call('GETRANGE', KEYS[i], HEADER .. '', stop)
        end
      end
      local header = struct.pack(FORMAT, tick_now, 0, used, room)
      redis.call('SET', KEYS[i], header .. old .. new, 'PX', ttl)
    end
    reply[3 * i], reply[3 * i + 2] = capacity - used, (tick_now + life) * tick - now
  else
    local unit, drain, charged = third, fourth, backlog + cost * third
    local empty = ceil(charged / drain)
    -- Rounded up, so never 0.
    ttl = test_ttl or ceil(empty / 1000) .. ''
    redis.call('SET', KEYS[i], struct.pack('>dd', moment, charged), 'PX', ttl)
    reply[3 * i] = floor((capacity * unit - charged) / unit)
    reply[3 * i + 2] = empty + moment - now
  end
end
return reply
