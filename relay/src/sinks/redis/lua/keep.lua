-- Keeps a set as the newest change of each member says, in whatever order the changes come.
--
-- KEYS[1]  kept set, `postrider:kept:NAME:{set}`: a hash from member to position and '+' or '-'
-- ARGV     member, position and sign, again and again
--
-- Returns how many members changed.

local changed = 0
for i = 1, #ARGV, 3 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if not old or ARGV[i + 1] > string.sub(old, 1, 32) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ARGV[i + 2])
    changed = changed + 1
  end
end
return changed
