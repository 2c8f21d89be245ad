-- Adds the points of one batch of records to a sorted set of the recent past, each record once however often it comes.
--
-- KEYS[1]  the sorted set that readers see: the best members of the window, in points
-- KEYS[2]  points of the window by member, in thousandths, so that no fraction is ever rounded
-- KEYS[3]  the buckets that there are, by number
-- KEYS[4]  the last offset that was counted, by topic and partition
-- KEYS[5]  what a bucket's key begins with: points of one stretch of time by member, in thousandths
-- ARGV[1]  topic and partition of the batch
-- ARGV[2]  the batch's last offset
-- ARGV[3]  how long a bucket is, in milliseconds
-- ARGV[4]  how many buckets are a window
-- ARGV[5]  how many members readers see
-- ARGV[6]  how long they see them after the last change, in milliseconds
-- ARGV     then of each point: offset, time in milliseconds, thousandths, member; offsets never fall
--
-- The records of a partition come in order, again only from some record on: so one number tells which were counted.
-- Returns how many points were counted.

local time = redis.call('TIME')
local bucket_ms = tonumber(ARGV[3])
local this = math.floor((time[1] * 1000 + math.floor(time[2] / 1000)) / bucket_ms)
local oldest = this - ARGV[4] + 1
local state_ms = string.format('%d', 2 * ARGV[4] * bucket_ms)

local function key_of(number)
  return KEYS[5] .. string.format('%d', number)
end

-- Takes the points of buckets that the window has left, a bounded number at a time.
local function forget()
  local left = 5000
  for _, number in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. string.format('%d', oldest))) do
    local old = redis.call('ZPOPMIN', key_of(number), left)
    for i = 1, #old, 2 do
      if tonumber(redis.call('ZINCRBY', KEYS[2], -old[i + 1], old[i])) == 0 then
        redis.call('ZREM', KEYS[2], old[i])
      end
    end
    if #old == 0 or redis.call('EXISTS', key_of(number)) == 0 then
      redis.call('ZREM', KEYS[3], number)
    end
    if #old == 0 then
      return false
    end
    left = left - #old / 2
    if left <= 0 then
      return true
    end
  end
  return true
end

-- A bucket that is gone before it was taken: what is left is added up again.
local function add_up()
  redis.call('DEL', KEYS[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. string.format('%d', oldest))
  local keys = {}
  for i, number in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    keys[i] = key_of(number)
  end
  if #keys > 0 then
    redis.call('ZUNIONSTORE', KEYS[2], #keys, unpack(keys))
  end
end

if not forget() then
  add_up()
end

local counted_until = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or -1)
local counted, touched = 0, {}
for i = 7, #ARGV, 4 do
  local number = math.min(math.floor(ARGV[i + 1] / bucket_ms), this)
  if tonumber(ARGV[i]) > counted_until and number >= oldest then
    redis.call('ZINCRBY', key_of(number), ARGV[i + 2], ARGV[i + 3])
    if tonumber(redis.call('ZINCRBY', KEYS[2], ARGV[i + 2], ARGV[i + 3])) == 0 then
      redis.call('ZREM', KEYS[2], ARGV[i + 3])
    end
    touched[number] = true
    counted = counted + 1
  end
end
for number in pairs(touched) do
  redis.call('ZADD', KEYS[3], number, string.format('%d', number))
  redis.call('PEXPIRE', key_of(number), state_ms)
end
if tonumber(ARGV[2]) > counted_until then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
end

redis.call('ZRANGESTORE', KEYS[1], KEYS[2], 0, ARGV[5] - 1, 'REV')
redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', '0.001')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
for i = 2, 4 do
  redis.call('PEXPIRE', KEYS[i], state_ms)
end
return counted
