-- Removes what a family's set names, and the set.
--
-- KEYS[1]  tag set, `postrider:tag:{tag}`; in a cluster its members have the same hash tag
--
-- Returns how many keys were there.

local members = redis.call('SMEMBERS', KEYS[1])
local removed = 0
for first = 1, #members, 1000 do
  removed = removed + redis.call('UNLINK', unpack(members, first, math.min(first + 999, #members)))
end
redis.call('UNLINK', KEYS[1])
return removed
