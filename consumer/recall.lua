-- Entities as of the partition's last checkpoint.
--
-- KEYS: checkpoints, state.   ARGV: partition, checkpoint as the worker knows it, then keys.
-- Answer: {"STALE", stored checkpoint}, if there has been another since; {"LOST", number of entities there are}, if
-- Redis has lost some; or {"FOUND", for every key its row or false}.

local checkpoint = redis.call('HGET', KEYS[1], ARGV[1])
if checkpoint ~= ARGV[2] then
  return {'STALE', checkpoint or ''}
end
local held = tostring(redis.call('HLEN', KEYS[2]))
if held ~= string.match(checkpoint, '[^:]*$') then
  return {'LOST', held}
end
local answer = {'FOUND'}
for at = 3, #ARGV, 1000 do
  for _, row in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV, at, math.min(#ARGV, at + 999)))) do
    answer[#answer + 1] = row
  end
end
return answer
