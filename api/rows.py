"""The board's rows: pages of them by time or score, those of an object, the one of an event. Reads only.

What is read grows with what is asked for: nights from the newest back until there are enough rows, details of no other.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import redis
from pydantic_core import from_json

from ..consumer.board import key, read_nights

SECONDS_A_DAY = 86_400.0
JD_OF_1970, MJD_OF_1970 = 2_440_587.5, 40_587.0
TAI_AHEAD = 37.0  # seconds, of UTC, since 2017
AT_ONCE = 256  # rows whose details are fetched together: 2 MB
NIGHTS_AT_ONCE = 64
REMEMBERED = 1_024  # rows that were read lately: 4 kB of text and some 20 of objects each
# Members of the sorted sets that one request may make Redis walk through: a fifth of a second.
MOST_MEMBERS = 200_000
# An event's id isn't a key: its night's details are read through, 7 MB each.
NIGHTS_SEARCHED = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A place in a night's list; `rank` counts from 1."""

    night: str
    rank: int
    object: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A row of the board: its place, and the event behind it. The same row read again is mostly the same object."""

    night: str
    rank: int | None
    object: str
    details: Mapping[str, Any]

    @property
    def candidate(self) -> Mapping[str, Any]:
        """A few fields of the record."""
        found: Mapping[str, Any] = self.details.get("candidate", {})
        return found

    @property
    def score(self) -> float:
        """0 to 1, higher = more anomalous."""
        return float(self.details["score"])

    @property
    def time(self) -> float:
        """When, in seconds since 1970-01-01 UTC: the record's own time, else where its night begins by name."""
        jd, text = self.candidate.get("jd"), self.candidate.get("transaction_date")
        if isinstance(jd, float | int):
            return (jd - JD_OF_1970) * SECONDS_A_DAY
        if isinstance(mjd := self.candidate.get("midpointMjdTai"), float | int):
            return (mjd - MJD_OF_1970) * SECONDS_A_DAY - TAI_AHEAD
        try:
            when = datetime.fromisoformat(text if isinstance(text, str) else self.night)
        except ValueError:  # ISO 8601 that Python doesn't read
            when = datetime.fromisoformat(self.night)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

    @property
    def day(self) -> date:
        """The UTC date of its time."""
        return datetime.fromtimestamp(self.time, UTC).date()


def members(client: redis.Redis, stream: str, nights: Sequence[str], top: int) -> list[list[Member]]:
    """The first `top` places of each night."""
    with client.pipeline(transaction=False) as pipe:
        for night in nights:
            pipe.zrevrange(key(stream, "top", night), 0, top - 1, withscores=True)
        found: Any = pipe.execute()
    return [
        [Member(night, rank, member.decode(), float(score)) for rank, (member, score) in enumerate(one, 1)]
        for night, one in zip(nights, found, strict=True)
    ]


def entries(client: redis.Redis, stream: str, chosen: Sequence[Member], whole: bool = False) -> list[Entry]:
    """Their rows, in the same order; one that has left the board in the meantime is left out.

    Unless the `whole` is asked for, without what few tables show.
    """
    by_night: dict[str, list[Member]] = {}
    for one in chosen:
        by_night.setdefault(one.night, []).append(one)
    with client.pipeline(transaction=False) as pipe:
        for night, there in by_night.items():
            pipe.hmget(key(stream, "details", night), [one.object for one in there])
        found: Any = pipe.execute()
    details = {
        (night, one.object): detail
        for (night, there), texts in zip(by_night.items(), found, strict=True)
        for one, detail in zip(there, texts, strict=True)
    }
    return [
        _entry(one.night, one.rank, one.object, detail if whole else _shown(detail))
        for one in chosen
        if (detail := details[one.night, one.object]) is not None
    ]


@lru_cache(maxsize=REMEMBERED)
def _entry(night: str, rank: int, name: str, detail: bytes) -> Entry:
    """Read once: who polls a list asks for the same rows again and again."""
    return Entry(night, rank, name, from_json(detail))


def of_objects(client: redis.Redis, stream: str, wanted: Sequence[str], nights: Sequence[str]) -> list[Entry]:
    """The rows of these objects in these nights, with all details, the newest first."""
    with client.pipeline(transaction=False) as pipe:
        for night in nights:
            pipe.hmget(key(stream, "details", night), list(wanted))
        found: Any = pipe.execute()
    there = [
        (night, name, detail)
        for night, texts in zip(nights, found, strict=True)
        for name, detail in zip(wanted, texts, strict=True)
        if detail is not None
    ]
    with client.pipeline(transaction=False) as pipe:
        for night, name, _ in there:
            pipe.zrevrank(key(stream, "top", night), name)
        ranks: Any = pipe.execute() if there else []
    rows = [
        Entry(night, None if rank is None else rank + 1, name, from_json(detail))
        for (night, name, detail), rank in zip(there, ranks, strict=True)
    ]
    return sorted(rows, key=lambda one: (-one.time, one.object))


def of_event(client: redis.Redis, stream: str, wanted: str, night: str | None) -> Entry | None:
    """The newest row of an object, else the row of the event with this id.

    Events are looked for in `night`, or else in the latest few: their ids aren't keys.
    """
    nights = [night] if night else read_nights(client, stream)
    for some in _chunks(nights, NIGHTS_AT_ONCE):
        if found := of_objects(client, stream, [wanted], some):
            return found[0]
    name = f'"event":{json.dumps(wanted)}'.encode()
    for one in nights[:NIGHTS_SEARCHED]:
        scanned: Iterator[Any] = client.hscan_iter(key(stream, "details", one), count=100)
        for owner, detail in scanned:
            if name in detail and from_json(detail)["event"] == wanted:
                return next(iter(of_objects(client, stream, [owner.decode()], [one])), None)
    return None


def _shown(detail: bytes) -> bytes:
    """A row's JSON without `explained` and `lightcurve`: they are most of the text, and few tables show them.

    Within a JSON text these quotes would be escaped, so what is found is the key itself.

    >>> _shown(b'{"event":"1","explained":{"feature":["a"]},"lightcurve":{},"features":{"a":1.0},"model":"m"}')
    b'{"event":"1","features":{"a":1.0},"model":"m"}'
    """
    begins = detail.find(b',"explained":{')
    ends = detail.find(b',"features":{', begins)
    return detail[:begins] + detail[ends:] if 0 < begins < ends else detail


def read_streams(client: redis.Redis) -> list[str]:
    """The streams that have a board, by name."""
    names: Iterable[Any] = client.scan_iter(match="skim:{*}:offsets", count=1_000)
    return sorted(name.decode().removeprefix("skim:{").removesuffix("}:offsets") for name in names)


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
