"""The board in Redis: per stream and night the most anomalous objects, and the offsets that they reflect.

Keys (people read them with redis-cli), for the stream `ztf`:
    skim:{ztf}:top:2026-11-21       sorted set: object → its highest score of that night
    skim:{ztf}:details:2026-11-21   hash: object → JSON of the event behind that score
    skim:{ztf}:timeline:2026-11-21  hash: object → lines of JSON, its notable events of that night, the latest last
    skim:{ztf}:scores:2026-11-21    hash: hundredths of the frozen part's score → how many events of that night
    skim:{ztf}:alerts               stream: the latest 5,000 alerts for people, <number>-0 → JSON (outbox.py)
    skim:{ztf}:log                  stream: the latest 10,000 changes of the lists, for those who follow them
    skim:{ztf}:offsets              hash: <topic>/<partition> → next offset to read
What the partitions have learned stands beside it: checkpoint.py.
The braces keep all keys of a stream on one shard of a Redis Cluster, as one script needs them to be.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import redis

from .alert import Alert
from .fence import Fence
from .streams.base import SECONDS_A_DAY, night_name

NIGHTS_NOTED = 8  # whose objects' scores a worker remembers: 8 nights of 4 x 1,000 names and numbers are 5 MB
# A worker is heard every second, or between two batches: 15 s without a word are an outage or the end.
SILENT_SECONDS = 15.0


def key(stream: str, *parts: str) -> str:
    """The Redis key of one thing of a stream.

    >>> key("ztf", "top", "2026-11-21")
    'skim:{ztf}:top:2026-11-21'
    """
    return ":".join(("skim", "{" + stream + "}", *parts))


@dataclass(frozen=True, slots=True)
class Row:
    """One event worth a place: `details` is JSON and names its event.

    `line` is JSON on one line, for those who follow the list, and for the object's timeline if the event is `notable`.
    Without details it asks for no place, and goes onto the timeline alone. alert: what rules want told of it.
    """

    night: int
    object: str
    score: float
    event: str
    details: str
    line: str = "{}"
    notable: bool = False
    alert: Alert | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """What came of a commit. Not applied: the offset is not ours any more, but `stored` (None: nobody set one)."""

    applied: bool
    stored: int | None
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """How many workers live, and when any was last heard (seconds since 1970; None = not within a day)."""

    alive: int
    last: float | None


class Board:
    """The writing side. One per worker.

    `floors` are what a night's list asks for, `bests` what its objects have, as far as this worker has heard. Both only
    rise: who knows too little sends a row in vain.
    """

    def __init__(self, client: redis.Redis, stream: str, kept: int = 1_000, days: float = 90.0) -> None:
        self.client = client
        self.stream = stream
        self.kept = kept
        self.seconds = int(days * SECONDS_A_DAY)
        self.floors: dict[int, float] = {}
        self.bests: dict[int, dict[str, float]] = {}
        self._script = client.register_script(
            resources.files(__package__ or "").joinpath("commit.lua").read_text()
        )  # re-sends itself when Redis has lost its script cache

    def floor(self, night: int) -> float:
        """The lowest score worth sending. Within a night it only rises, so an old value is safe."""
        return self.floors.get(night, float("-inf"))

    def best(self, night: int, owner: str) -> float:
        """The object's score on that night's list, or less: a lower one needn't be sent."""
        return self.bests.get(night, {}).get(owner, float("-inf"))

    def forget_lists(self) -> None:
        """On assignment: Redis may have gone back in time, and its lists with it."""
        self.floors.clear()
        self.bests.clear()

    def commit(
        self,
        partition: str,
        fence: Fence,
        following: int,
        rows: Sequence[Row],
        counts: Mapping[int, Mapping[int, int]] | None = None,
    ) -> Committed:
        """Apply one batch that began at the fence's offset: its rows and the offset `following`, in one atomic step.

        counts: by night, how many of all its scored events have which hundredths of a score.

        If Redis holds another offset or checkpoint of this partition, nothing is applied: this worker is no longer its
        owner, or Redis went back in time. A lost reply makes the call be sent twice; the second finds `following`
        stored, which means that the first was applied.
        """
        counts = counts or {}
        nights = sorted({row.night for row in rows} | counts.keys())
        keys = [key(self.stream, name) for name in ("offsets", "checkpoints", "inflight", "log", "alerts")]
        arguments: list[str] = [
            partition,
            str(fence.offset),
            fence.checkpoint,
            str(following),
            str(self.kept),
            str(self.seconds),
        ]
        for night in nights:
            name = night_name(night)
            keys += [key(self.stream, kind, name) for kind in ("top", "details", "timeline", "scores")]
            chosen = [row for row in rows if row.night == night]
            arguments += [name, str(len(chosen))]
            for row in chosen:
                arguments += [row.object, repr(row.score), row.event, row.details, row.line, "1" if row.notable else ""]
                arguments.append(row.alert.to_json() if row.alert and row.alert.told else "")
            arguments.append(" ".join(f"{place} {many}" for place, many in counts.get(night, {}).items()))
        answer: Any = self._script(keys=keys, args=arguments)
        status, second, *others = [_text(value) for value in answer]
        if status == "STALE":
            stored = int(second) if second else None
            again = stored == following and following != fence.offset and others[0] == fence.checkpoint
            return Committed(applied=again, stored=stored)
        self.floors.update({n: float(floor) for n, floor in zip(nights, others, strict=True) if floor})
        self._note(rows)
        return Committed(applied=True, stored=following, changed=int(second))

    def _note(self, rows: Sequence[Row]) -> None:
        """What is on the lists now, of some nights and not too many objects: what is forgotten is only sent again."""
        for row in rows:
            if not row.details:
                continue
            known = self.bests.setdefault(row.night, {})
            if len(known) > 4 * self.kept:
                known.clear()
            known[row.object] = max(row.score, known.get(row.object, row.score))
        while len(self.bests) > NIGHTS_NOTED:
            self.bests.pop(min(self.bests))


def read_top(client: redis.Redis, stream: str, night: str, n: int) -> list[dict[str, Any]]:
    """The `n` most anomalous objects of a night, best first: their details with `rank`, `object`, `score`."""
    return _rows(client, stream, night, 0, n - 1)


def read_row(client: redis.Redis, stream: str, night: str, wanted: str) -> dict[str, Any] | None:
    """The row of an object, or else of the event with this id, as `read_top` gives it; None if neither is there."""
    rank: Any = client.zrevrank(key(stream, "top", night), wanted)
    if rank is None:
        everyone: Iterator[Any] = client.hscan_iter(key(stream, "details", night), count=1_000)
        owners = (_text(member) for member, detail in everyone if _details(detail).get("event") == wanted)
        owner = next(owners, None)
        rank = None if owner is None else client.zrevrank(key(stream, "top", night), owner)
    return None if rank is None else next(iter(_rows(client, stream, night, rank, rank)), None)


def _rows(client: redis.Redis, stream: str, night: str, first: int, last: int) -> list[dict[str, Any]]:
    found: Any = client.zrevrange(key(stream, "top", night), first, last, withscores=True)
    if not found:
        return []
    members = [_text(member) for member, _ in found]
    details: Any = client.hmget(key(stream, "details", night), members)
    return [
        {"rank": rank, "object": member, "score": float(score), **_details(detail)}
        for rank, (member, (_, score), detail) in enumerate(zip(members, found, details, strict=True), first + 1)
    ]


def read_nights(client: redis.Redis, stream: str) -> list[str]:
    """The nights on the board, latest first."""
    prefix = key(stream, "top", "")
    pattern = prefix.replace("[", "\\[") + "*"
    names: Iterator[Any] = client.scan_iter(match=pattern, count=1_000)
    return sorted((_text(name).removeprefix(prefix) for name in names), reverse=True)


def read_offsets(client: redis.Redis, stream: str) -> dict[str, int]:
    """Next offset by `<topic>/<partition>`."""
    stored: Any = client.hgetall(key(stream, "offsets"))
    return {_text(name): int(_text(offset)) for name, offset in stored.items()}


def read_workers(client: redis.Redis, stream: str) -> Heard:
    """Who is at work on a stream."""
    seconds, _ = client.time()
    found: Any = client.zrange(key(stream, "workers"), 0, -1, withscores=True)
    times = [float(when) for _, when in found]
    return Heard(sum(when > seconds - SILENT_SECONDS for when in times), max(times, default=None))


def _details(detail: bytes | str | None) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = json.loads(detail) if detail else {}
    return parsed


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
