-- One batch of one partition onto the board: all of it or nothing (a Redis script is atomic).
--
-- KEYS: offsets, checkpoints, inflight, log, alerts, then four (top, details, timeline, scores) for every night in the
--       batch.
-- ARGV: partition, first, checkpoint as the worker knows it, next, rows kept a night, seconds to keep them,
--       then for every night: its name, number of rows, and for every row:
--       object, score, event, details (JSON with "event"; "" = no place is asked for), line (JSON for people who follow),
--       notable ("1": the line goes onto the object's timeline), alert (JSON for people; "" = none);
--       and after its rows, in one text: hundredths of a score, events that have it, hundredths, events ...
-- Answer: {"STALE", stored offset, stored checkpoint} and nothing is applied, or
--         {"APPLIED", changed rows, then for every night its floor ("" while the list isn't full)}.
-- Scores and ids travel as text: Lua's numbers are doubles, and ZTF's candid exceeds 2^53.

local LOGGED = 10000 -- changes that somebody who was away can catch up with: minutes of a busy night, 3 MB
local WAITING = 5000 -- alerts that no channel has told yet: 6 kB each, 30 MB; the oldest go first
local TIMELINE_BYTES = 4096 -- an object's latest dozen of notable events; with 2 kept objects a row, 8 MB a night

local stored, checkpoint = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[2], ARGV[1])
if stored ~= ARGV[2] or checkpoint ~= ARGV[3] then
  return {'STALE', stored or '', checkpoint or ''}
end

local kept, seconds = tonumber(ARGV[5]), ARGV[6]
local answer, changed, at = {'APPLIED', 0}, 0, 7

-- Whether the row takes the object's place, or its details those of an event that was as anomalous.
local function place(top, details, object, score, event, detail)
  if redis.call('ZADD', top, 'GT', 'CH', score, object) == 1 then
    redis.call('HSET', details, object, detail)
    return true
  elseif tonumber(redis.call('ZSCORE', top, object)) == tonumber(score) then
    -- The same object with the same score from two partitions: the smaller event id wins, whoever came first.
    if event < cjson.decode(redis.call('HGET', details, object))['event'] then
      redis.call('HSET', details, object, detail)
      return true
    end
  end
  return false
end

-- The line at the end of the object's, its oldest lines dropped if they are too many.
local function remember(timeline, object, line)
  local known = redis.call('HGET', timeline, object)
  if not known and redis.call('HLEN', timeline) >= 2 * kept then
    return
  end
  local text = (known or '') .. line .. '\n'
  while #text > TIMELINE_BYTES do
    text = text:sub(text:find('\n', 1, true) + 1)
  end
  redis.call('HSET', timeline, object, text)
  redis.call('EXPIRE', timeline, seconds)
end

-- At the end of the outbox; its numbers have no gaps, so that who reads can tell what was dropped.
local function tell(alert)
  local last = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1]
  local number = last and tonumber(last[1]:match('^%d+')) or 0
  redis.call('XADD', KEYS[5], 'MAXLEN', WAITING, string.format('%d-0', number + 1), 'alert', alert)
end

for key = 6, #KEYS, 4 do
  local top, details, timeline, scores = KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]
  local night, rows = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, rows do
    local object, score, event, detail, line, notable, alert =
      ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
    at = at + 7
    if detail ~= '' and place(top, details, object, score, event, detail) then
      changed = changed + 1
      redis.call('XADD', KEYS[4], 'MAXLEN', '~', LOGGED, '*', 'night', night, 'object', object, 'line', line)
    end
    if notable == '1' then
      remember(timeline, object, line)
    end
    if alert ~= '' then
      tell(alert)
    end
  end
  for place, events in ARGV[at]:gmatch('(%S+) (%d+)') do
    redis.call('HINCRBY', scores, place, events)
  end
  at = at + 1
  redis.call('EXPIRE', scores, seconds)
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
if changed > 0 then
  redis.call('EXPIRE', KEYS[4], seconds)
end

redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('HDEL', KEYS[3], ARGV[1]) -- whatever was in flight at that offset has come through
answer[2] = changed
return answer
