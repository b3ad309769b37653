"""The outbox: alerts that commits left in Redis for people, and how far each channel is with them.

Keys, for the stream `ztf`; all but the first are the notifier's:
    skim:{ztf}:alerts                stream: <number>-0 → alert (JSON), written by commit.lua; numbers have no gaps
    skim:{ztf}:told                  hash: channel → number of the last alert that it is done with
    skim:{ztf}:held:<rule>:<object>  text: id of the alert that began the object's cooldown, until that is over
    skim:{ztf}:night:<rule>:<night>  set: ids of alerts that people got, of rules that want so many a night
    skim:{ztf}:notifier              text: who notifies; one at a time, and gone soon after its last word
"""

import json
from dataclasses import dataclass
from math import ceil
from typing import Any

import redis

from .board import key
from .rule import Record, Rule
from .streams.base import SECONDS_A_DAY

AT_ONCE = 100
#: A notifier that wasn't heard for so long is succeeded by another worker's.
LEASE_SECONDS = 5.0
# A night's ids are kept as long as anybody may still be behind with them.
NIGHT_SECONDS = int(4 * SECONDS_A_DAY)

_ADMIT = """
local id, cooldown, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local holder = cooldown > 0 and redis.call('GET', KEYS[1])
if holder and holder ~= id then
  return 0
end
if most > 0 and redis.call('SISMEMBER', KEYS[2], id) == 0 then
  if redis.call('SCARD', KEYS[2]) >= most then
    return 0
  end
  redis.call('SADD', KEYS[2], id)
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
if cooldown > 0 and not holder then
  redis.call('SET', KEYS[1], id, 'PX', math.ceil(cooldown * 1000))
end
return 1
"""
_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert in the outbox."""

    number: int
    record: Record


class Outbox:
    """The reading side. Raises `redis.RedisError` when Redis doesn't answer."""

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self.client = client
        self.stream = stream
        self._admit = client.register_script(_ADMIT)
        self._lease = client.register_script(_LEASE)
        self._release = client.register_script(_RELEASE)

    def last(self) -> int:
        """The number of the latest alert, 0 if there was none."""
        found: Any = self.client.xrevrange(key(self.stream, "alerts"), count=1)
        return _number(found[0][0]) if found else 0

    def after(self, number: int, milliseconds: int) -> list[Entry]:
        """The next alerts, waiting so long for the first."""
        name = key(self.stream, "alerts")
        found: Any = self.client.xread({name: f"{number}-0"}, count=AT_ONCE, block=milliseconds)
        return [
            Entry(_number(place), json.loads(fields[b"alert"])) for _, page in found or [] for place, fields in page
        ]

    def begin(self, channel: str) -> int:
        """Up to which alert a channel is done; one that is new begins with what comes from now on."""
        name = key(self.stream, "told")
        self.client.hsetnx(name, channel, str(self.last()))
        stored: Any = self.client.hget(name, channel)
        return int(stored)

    def done(self, channel: str, number: int) -> None:
        """A channel is done with all up to this alert."""
        self.client.hset(key(self.stream, "told"), channel, str(number))

    def admits(self, rule: Rule, record: Record) -> bool:
        """Whether the rule's cooldown and its number a night let people hear of an alert; the same one again: yes."""
        most = ceil(rule.alerts_per_night or 0)
        if not rule.cooldown and not most:
            return True
        keys = [
            key(self.stream, "held", rule.name, record["object"]),
            key(self.stream, "night", rule.name, record["night"]),
        ]
        answer: Any = self._admit(keys=keys, args=[record["id"], rule.cooldown, most, NIGHT_SECONDS])
        return bool(answer)

    def lease(self, who: str) -> bool:
        """Be the one who notifies, for some seconds more; False if another one is."""
        answer: Any = self._lease(keys=[key(self.stream, "notifier")], args=[who, int(LEASE_SECONDS * 1000)])
        return bool(answer)

    def release(self, who: str) -> None:
        """Let another one notify at once."""
        self._release(keys=[key(self.stream, "notifier")], args=[who])


def _number(place: bytes) -> int:
    return int(place.partition(b"-")[0])
