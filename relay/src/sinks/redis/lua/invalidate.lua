-- Raises the generations of families, so that what was filled under an older one is superseded and no fill that began
-- before is taken.
--
-- KEYS[i]  generation key, `postrider:gen:{tag}`
-- ARGV[i]  position of the change that invalidates KEYS[i], 32 hexadecimal digits; only a later one than the last counts.
--          Empty: it counts whatever came before (the second pass, and records without a position)
--
-- Returns { advanced, of those with something filled under the old generation, passed over, absent }. A generation that is
-- absent is left absent: nothing is valid without it. Positions are compared as text of one length, for a number of Lua
-- is a double.

local time = redis.call('TIME')
local now = string.format('%08x%05x', time[1], time[2])

local function after(stamp)
  if now > stamp then
    return now
  end
  -- Twice in a microsecond, or the clock was set back.
  local seconds, rest = tonumber(string.sub(stamp, 1, 8), 16), tonumber(string.sub(stamp, 9), 16) + 1
  if rest > 0xfffff then
    seconds, rest = seconds + 1, 0
  end
  return string.format('%08x%05x', seconds, rest)
end

local advanced, filled, passed, absent = 0, 0, 0, 0
local found = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  local old, position = found[i], ARGV[i]
  if not old then
    absent = absent + 1
  elseif position ~= '' and position <= string.sub(old, 1, 32) then
    passed = passed + 1
  else
    if position == '' then
      position = string.sub(old, 1, 32)
    end
    if string.sub(old, 46) == '1' then
      filled = filled + 1
    end
    redis.call('SET', key, position .. after(string.sub(old, 33, 45)) .. '0', 'KEEPTTL')
    advanced = advanced + 1
  end
end
return { advanced, filled, passed, absent }
