-- A checkpoint of one partition: its model, the entities that changed, and the offset they reflect; all of it or nothing.
--
-- KEYS: offsets, checkpoints, model, state, switches.
-- ARGV: partition, offset and checkpoint as the worker knows them, the checkpoint's own offset, its digest, the model,
--       the id of a model that scores from here on ("" = the same as before), number of changed entities, for each its
--       key and its row, then the keys of the outlived ones.
-- Answer: {"STALE", stored offset, stored checkpoint} and nothing is applied, or {"APPLIED", the new checkpoint}.

local partition = ARGV[1]
local offset, checkpoint = redis.call('HGET', KEYS[1], partition), redis.call('HGET', KEYS[2], partition)
if offset ~= ARGV[2] or checkpoint ~= ARGV[3] then
  return {'STALE', offset or '', checkpoint or ''}
end

local changed = tonumber(ARGV[8])
local at = 9
-- Lua can pass some 8,000 values in one call.
while changed > 0 do
  local count = math.min(changed, 1000)
  redis.call('HSET', KEYS[4], unpack(ARGV, at, at + 2 * count - 1))
  at = at + 2 * count
  changed = changed - count
end
while at <= #ARGV do
  local last = math.min(#ARGV, at + 999)
  redis.call('HDEL', KEYS[4], unpack(ARGV, at, last))
  at = last + 1
end
redis.call('SET', KEYS[3], ARGV[6])
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[5], ARGV[4], ARGV[7])
end
checkpoint = ARGV[4] .. ':' .. ARGV[5] .. ':' .. redis.call('HLEN', KEYS[4])
redis.call('HSET', KEYS[2], partition, checkpoint)
return {'APPLIED', checkpoint}
