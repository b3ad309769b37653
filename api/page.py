"""One page of a stream's most anomalous objects: the ten of each night, newest first, or by score; and where to go on.

A cursor names the last row of a page, not a number of rows, so that rows that come meanwhile shift nothing.
"""

import base64
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Literal, NamedTuple

import redis
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ..consumer.board import read_nights
from .arguments import AnomalyArguments
from .problems import wrong
from .rows import AT_ONCE, MOST_MEMBERS, NIGHTS_AT_ONCE, Entry, Member, entries, members


class Cursor(NamedTuple):
    """The last row of a page: `value` is its time or score, whichever gives the order."""

    order: Literal["time", "score"]
    night: str
    value: float
    object: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(to_json(self)).decode().rstrip("=")


_CURSOR = TypeAdapter(Cursor)


class Page(NamedTuple):
    """Rows, and the cursor of the next page ("" = this is the last)."""

    rows: list[Entry]
    following: str


def read_page(client: redis.Redis, asked: AnomalyArguments) -> Page:
    """What is asked for. Raises `Problem` for a cursor that isn't one, and for too much at once."""
    after = _cursor(asked)
    nights = [night for night in read_nights(client, asked.stream) if _in_range(night, asked)]
    if len(nights) * asked.of_each_night > MOST_MEMBERS:
        raise wrong("per_night", f"{asked.of_each_night} of {len(nights)} nights are too many; choose fewer, or days")
    found = (_by_time if asked.order == "time" else _by_score)(client, asked, nights, after)
    rows = list(islice(found, asked.n + 1))
    if len(rows) <= asked.n:
        return Page(rows, "")
    last = rows[asked.n - 1]
    value = last.time if asked.order == "time" else last.score
    return Page(rows[: asked.n], str(Cursor(asked.order, last.night, value, last.object)))


def _cursor(asked: AnomalyArguments) -> Cursor | None:
    if not asked.cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(asked.cursor.encode() + b"=" * (-len(asked.cursor) % 4))
        cursor = _CURSOR.validate_json(text)
    except (ValueError, ValidationError) as error:
        raise wrong("cursor", "is not one that a header Link gave") from error
    if cursor.order != asked.order:
        raise wrong("cursor", f"is of a page with order={cursor.order}")
    return cursor


def _in_range(night: str, asked: AnomalyArguments) -> bool:
    """Whether a night may have rows of the days asked for: it may go on to the day after its name."""
    if asked.night is not None:
        return night == asked.night.isoformat()
    first = asked.start_date and asked.start_date.toordinal() > 1 and asked.start_date - timedelta(days=1)
    return (not first or night >= first.isoformat()) and (
        asked.stop_date is None or night <= asked.stop_date.isoformat()
    )


def _wanted(entry: Entry, asked: AnomalyArguments) -> bool:
    return (asked.start_date is None or entry.day >= asked.start_date) and (
        asked.stop_date is None or entry.day <= asked.stop_date
    )


def _by_time(
    client: redis.Redis, asked: AnomalyArguments, nights: Sequence[str], after: Cursor | None
) -> Iterator[Entry]:
    """Newest first; of one time, by name. Nights are read as they are needed."""
    rest = [night for night in nights if after is None or night <= after.night]
    size = min(NIGHTS_AT_ONCE, asked.n // asked.of_each_night + 1)
    while rest:
        some, rest = rest[:size], rest[size:]
        places = [
            [one for one in places if one.score >= asked.min_score]
            for places in members(client, asked.stream, some, asked.of_each_night)
        ]
        for there in _read(client, asked.stream, places, asked.whole):
            for entry in sorted(there, key=lambda one: (-one.time, one.object)):
                past = (
                    after is None
                    or entry.night < after.night
                    or (-entry.time, entry.object) > (-after.value, after.object)
                )
                if past and _wanted(entry, asked):
                    yield entry


def _read(client: redis.Redis, stream: str, places: Sequence[Sequence[Member]], whole: bool) -> Iterator[list[Entry]]:
    """The rows of each night; details are fetched for many nights at once."""
    waiting: list[Sequence[Member]] = []
    for number, there in enumerate(places, 1):
        waiting.append(there)
        if number == len(places) or sum(map(len, waiting)) >= AT_ONCE:
            by_night: dict[str, list[Entry]] = {}
            for entry in entries(client, stream, [one for some in waiting for one in some], whole):
                by_night.setdefault(entry.night, []).append(entry)
            yield from by_night.values()
            waiting = []


def _by_score(
    client: redis.Redis, asked: AnomalyArguments, nights: Sequence[str], after: Cursor | None
) -> Iterator[Entry]:
    """The most anomalous first; of one score, the newer night's, then by name."""

    def order(night: str, score: float, name: str) -> tuple[float, int, str]:
        return -score, -int(night.replace("-", "")), name

    found = [
        one
        for places in members(client, asked.stream, nights, asked.of_each_night)
        for one in places
        if one.score >= asked.min_score
    ]
    places: list[Any] = sorted((order(one.night, one.score, one.object), one) for one in found)
    if after is not None:
        last = order(after.night, after.value, after.object)
        places = [one for one in places if one[0] > last]
    rest = iter(one for _, one in places)
    size = min(AT_ONCE, asked.n + 1)
    while some := list(islice(rest, size)):
        yield from (entry for entry in entries(client, asked.stream, some, asked.whole) if _wanted(entry, asked))
