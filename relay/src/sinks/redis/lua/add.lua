-- Adds members to a set that lives for a while after its last change.
--
-- KEYS[1]  the set
-- ARGV[1]  how long it lives, in milliseconds
-- ARGV[2]  how many members it may have; beyond that, members chosen at random leave
-- ARGV     then the members
--
-- Returns how many were new.

local added = 0
for first = 3, #ARGV, 1000 do
  added = added + redis.call('SADD', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
local over = redis.call('SCARD', KEYS[1]) - ARGV[2]
if over > 0 then
  redis.call('SPOP', KEYS[1], string.format('%d', over))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return added
