-- Stores a page that was filled since open.lua gave its token, unless its tag was invalidated in between: what was read
-- before an invalidation can never lie in the cache after it.
--
-- KEYS[1]  generation key of the page's tag, `postrider:gen:{tag}`
-- KEYS[2]  the page
-- KEYS[3]  optional: tag set, `postrider:tag:{tag}`, for rules that delete the pages of a tag
-- ARGV[1]  the token of open.lua
-- ARGV[2]  the payload
-- ARGV[3]  how long it is fresh, in milliseconds
-- ARGV[4]  at most so many milliseconds are added, so that pages filled together do not end together
-- ARGV[5]  how long it is kept after that, to be served as stale; of a plain page nothing is kept
-- ARGV[6]  'framed' or 'plain'
--
-- Returns 1 if it is stored, 0 if it was refused.

local generation = redis.call('GET', KEYS[1])
if not generation or string.sub(generation, 1, 45) ~= string.sub(ARGV[1], 1, 45) then
  return 0
end

local time = redis.call('TIME')
local fresh = ARGV[3] + time[2] % (ARGV[4] + 1)
local kept = fresh
local page = ARGV[2]
if ARGV[6] ~= 'plain' then
  kept = fresh + ARGV[5]
  local fresh_until = time[1] * 1000 + math.floor(time[2] / 1000) + fresh
  page = ARGV[1] .. string.format('%011x', fresh_until) .. '\n' .. page
end
redis.call('SET', KEYS[2], page, 'PX', string.format('%d', kept))

-- The second pass of an invalidation counts what was filled after the first.
redis.call('SETRANGE', KEYS[1], 45, '1')
local function outlive(key)
  local wanted = fresh + 60000
  if redis.call('PTTL', key) < wanted then
    redis.call('PEXPIRE', key, string.format('%d', wanted))
  end
end
outlive(KEYS[1])
if KEYS[3] then
  redis.call('SADD', KEYS[3], KEYS[2])
  outlive(KEYS[3])
end
return 1
