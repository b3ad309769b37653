"""The nightly summary: the most anomalous distinct objects, how often each was among them lately, the median score.

A night is summed up once, when it is over by the clock and nothing of it has come for a while; so an archive that is
replayed gets its summaries too. It goes through the outbox as alerts do, so channels tell it at least once.

Keys, for the stream `ztf`:
    skim:{ztf}:summed       hash: night → "done", or <events>:<seconds since 1970> when they were last seen to grow
"""

import json
import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import redis

from .board import key, read_nights, read_top
from .distribution import median, read_counts
from .streams.base import EPOCH, SECONDS_A_DAY
from .summary_settings import SummarySettings

log = logging.getLogger(__name__)

DAYS = 90
# A night is noon to noon: it is over 36 hours after the midnight at which its date began.
OVER_SECONDS = 1.5 * SECONDS_A_DAY
LOOK_SECONDS = 10.0

# The outbox's numbers and its length are as commit.lua makes them.
_PUBLISH = """
if redis.call('HGET', KEYS[1], ARGV[1]) == 'done' then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], 'done')
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local number = last and tonumber(last[1]:match('^%d+')) or 0
redis.call('XADD', KEYS[2], 'MAXLEN', 5000, string.format('%d-0', number + 1), 'alert', ARGV[2])
return 1
"""


class Summaries:
    """Looks for nights that are over. `clock`: seconds since 1970."""

    def __init__(
        self, client: redis.Redis, stream: str, settings: Callable[[], SummarySettings], clock: Callable[[], float]
    ) -> None:
        self.client = client
        self.stream = stream
        self.settings = settings
        self.clock = clock
        self.looked = 0.0
        self._publish = client.register_script(_PUBLISH)

    def look(self) -> None:
        """Sum up each night that is over and not summed up yet. Raises `redis.RedisError`."""
        now, settings = self.clock(), self.settings()
        if not settings.channels or now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        marks: Any = self.client.hgetall(key(self.stream, "summed"))
        known = {name.decode(): mark.decode() for name, mark in marks.items()}
        if not known:  # whoever turns summaries on wants no ninety of them at once
            past = [night for night in read_nights(self.client, self.stream) if self._over(night)]
            old: dict[Any, Any] = dict.fromkeys(past, "done")
            self.client.hset(key(self.stream, "summed"), mapping={"": "since", **old})
            return
        for night in read_nights(self.client, self.stream):
            if known.get(night) == "done" or not self._over(night):
                continue
            scored = sum(read_counts(self.client, self.stream, night).values())
            events, _, since = known.get(night, "").partition(":")
            if events != str(scored):
                self.client.hset(key(self.stream, "summed"), night, f"{scored}:{now}")
            elif now - float(since) >= settings.quiet:
                self.publish(night, settings.objects)

    def publish(self, night: str, objects: int) -> None:
        """Put a night's summary into the outbox, unless another worker was faster."""
        record = summary_of(self.client, self.stream, night, objects)
        keys = [key(self.stream, name) for name in ("summed", "alerts")]
        if self._publish(keys=keys, args=[night, json.dumps(record, separators=(",", ":"))]):
            log.info("night summed up", extra={"stream": self.stream, "night": night})

    def _over(self, night: str) -> bool:
        return self.clock() >= _midnight(night) + OVER_SECONDS


def summary_of(client: redis.Redis, stream: str, night: str, objects: int = 10) -> dict[str, Any]:
    """A night's summary, JSON-ready: `objects` have rank, object, score, reasons, and `nights`, on how many of the last
    90 nights (this one too) they were among so many."""
    counts = read_counts(client, stream, night)
    first = (date.fromisoformat(night) - timedelta(days=DAYS - 1)).isoformat()
    nights = [name for name in read_nights(client, stream) if first <= name < night]
    before = [_names(client, stream, name, objects) for name in nights]
    rows = [
        {
            "rank": row["rank"],
            "object": row["object"],
            "score": row["score"],
            "combined": row.get("combined"),
            "reasons": [reason["words"] for reason in row.get("reasons", [])],
            "nights": 1 + sum(row["object"] in names for names in before),
        }
        for row in read_top(client, stream, night, objects)
    ]
    return {
        "id": f"summary/{stream}/{night}",
        "kind": "summary",
        "stream": stream,
        "night": night,
        "scored": sum(counts.values()),
        "median": median(counts),
        "objects": rows,
    }


def _names(client: redis.Redis, stream: str, night: str, most: int) -> set[str]:
    found: Any = client.zrevrange(key(stream, "top", night), 0, most - 1)
    return {name.decode() for name in found}


def _midnight(night: str) -> float:
    return (date.fromisoformat(night) - EPOCH).days * SECONDS_A_DAY
