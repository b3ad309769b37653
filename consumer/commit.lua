-- One batch of one partition onto the board: all of it or nothing (a Redis script is atomic).
--
-- KEYS: offsets, checkpoints, inflight, then a pair (top, details) for every night in the batch.
-- ARGV: partition, first, checkpoint as the worker knows it, next, rows kept a night, seconds to keep them,
--       then for every night: number of rows, and for every row: object, score, event, details (JSON with "event").
-- Answer: {"STALE", stored offset, stored checkpoint} and nothing is applied, or
--         {"APPLIED", changed rows, then for every night its floor ("" while the list isn't full)}.
-- Scores and ids travel as text: Lua's numbers are doubles, and ZTF's candid exceeds 2^53.

local stored, checkpoint = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[2], ARGV[1])
if stored ~= ARGV[2] or checkpoint ~= ARGV[3] then
  return {'STALE', stored or '', checkpoint or ''}
end

local kept, seconds = tonumber(ARGV[5]), ARGV[6]
local answer, changed, at = {'APPLIED', 0}, 0, 7

for key = 4, #KEYS, 2 do
  local top, details = KEYS[key], KEYS[key + 1]
  local rows = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, rows do
    local object, score, event, detail = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    at = at + 4
    if redis.call('ZADD', top, 'GT', 'CH', score, object) == 1 then
      redis.call('HSET', details, object, detail)
      changed = changed + 1
    elseif tonumber(redis.call('ZSCORE', top, object)) == tonumber(score) then
      -- The same object with the same score from two partitions: the smaller event id wins, whoever came first.
      if event < cjson.decode(redis.call('HGET', details, object))['event'] then
        redis.call('HSET', details, object, detail)
        changed = changed + 1
      end
    end
  end
  local surplus = redis.call('ZCARD', top) - kept
  if surplus > 0 then
    for _, object in ipairs(redis.call('ZRANGE', top, 0, surplus - 1)) do
      redis.call('HDEL', details, object)
    end
    redis.call('ZREMRANGEBYRANK', top, 0, surplus - 1)
  end
  redis.call('EXPIRE', top, seconds)
  redis.call('EXPIRE', details, seconds)
  local floor = ''
  if surplus >= 0 then
    floor = redis.call('ZRANGE', top, 0, 0, 'WITHSCORES')[2]
  end
  answer[#answer + 1] = floor
end

redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('HDEL', KEYS[3], ARGV[1]) -- whatever was in flight at that offset has come through
answer[2] = changed
return answer
