-- A worker takes a partition: where it goes on.
--
-- KEYS: offsets, checkpoints, inflight, quarantine, the partition's model, its state, its switches.
-- ARGV: partition, start, model.
-- Answer: {offset, checkpoint, inflight or "", quarantine or ""}; all text. Nothing is changed but the first time ever:
-- then the offset is set to `start`, with a checkpoint that says "nothing learned yet".

local offset = redis.call('HGET', KEYS[1], ARGV[1])
if not offset then
  offset = ARGV[2]
  redis.call('DEL', KEYS[5], KEYS[6], KEYS[7])
  redis.call('HSET', KEYS[7], offset, ARGV[3])
  redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('HDEL', KEYS[4], ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], offset .. ':new' .. ARGV[3] .. ':0')
  redis.call('HSET', KEYS[1], ARGV[1], offset)
end
local checkpoint = redis.call('HGET', KEYS[2], ARGV[1])
return {offset, checkpoint or '', redis.call('HGET', KEYS[3], ARGV[1]) or '', redis.call('HGET', KEYS[4], ARGV[1]) or ''}
