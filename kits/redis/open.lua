-- Reads a page and, in the same step, begins to fill it: what is returned as the token must be taken BEFORE the
-- database is read, and handed to fill.lua with what was read.
--
-- KEYS[1]  generation key of the page's tag, `postrider:gen:{tag}`
-- KEYS[2]  the page; in a cluster with the same hash tag
-- ARGV[1]  how long a generation is kept that nobody uses, in milliseconds
-- ARGV[2]  'framed': the page carries the generation it was filled under. 'plain': whatever is there is valid
--
-- Returns { state, token, payload, age in milliseconds, of a plain page '' }:
--   'hit'    the page is as good as the last invalidation
--   'stale'  a page is there, invalidated since or past its time: to be served only where nothing better can be had
--   'miss'   no page; the payload is empty
--
-- A generation is 45 hexadecimal digits: 32 of the position that invalidated last, 13 of the server's time, always risen.
-- Where it is missing nothing is valid, whatever lies there: so it may expire, be evicted or be lost at any time.
-- A framed page: generation (45), when its filling began (11, milliseconds), until when it is fresh (11), '\n', payload.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local generation = redis.call('GET', KEYS[1])
if generation then
  generation = string.sub(generation, 1, 45)
else
  -- Made by the clock and never by a counter: it equals none that was ever used before.
  generation = string.format('%032d%08x%05x', 0, time[1], time[2])
  redis.call('SET', KEYS[1], generation .. '0', 'PX', ARGV[1])
end
local token = generation .. string.format('%011x', now)

local page = redis.call('GET', KEYS[2])
if not page then
  return { 'miss', token, '', '' }
end
if ARGV[2] == 'plain' then
  return { 'hit', token, page, '' }
end
if #page < 68 or string.sub(page, 68, 68) ~= '\n' then
  return { 'miss', token, '', '' }
end
local age = now - tonumber(string.sub(page, 46, 56), 16)
local is_fresh = string.sub(page, 1, 45) == generation and now < tonumber(string.sub(page, 57, 67), 16)
return { is_fresh and 'hit' or 'stale', token, string.sub(page, 69), tostring(age) }
