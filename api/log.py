"""The log of changes that workers keep beside the board: reading on from any entry that is still there."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import redis
from pydantic_core import to_json

from ..consumer.board import key

AT_ONCE = 500


class Place(NamedTuple):
    """Where an entry stands in the log: Redis' id of it, milliseconds and a number.

    >>> Place.of("1795-3"), str(Place(1795, 3)), Place.of("x"), Place(9, 0) < Place(10, 0)
    (Place(milliseconds=1795, number=3), '1795-3', None, True)
    """

    milliseconds: int
    number: int

    @classmethod
    def of(cls, text: str) -> "Place | None":
        """None for what is no place."""
        parts = text.split("-")
        sound = len(parts) == 2 and all(one.isascii() and one.isdigit() and len(one) <= 20 for one in parts)
        place = cls(int(parts[0]), int(parts[1])) if sound else None
        return place if place and max(place) < 2**64 else None

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}"


@dataclass(frozen=True, slots=True)
class Change:
    """A row that came or rose: `data` is JSON with stream, night, object, event, score, severity, candidate."""

    place: Place
    night: str
    data: bytes


def changes_after(client: redis.Redis, stream: str, place: Place, most: int = AT_ONCE) -> list[Change]:
    """The changes that came after this place, in order. Raises `redis.RedisError`."""
    found: Any = client.xrange(key(stream, "log"), f"({place}", "+", count=most)
    return [_change(stream, name, fields) for name, fields in found]


def bounds(client: redis.Redis, stream: str) -> tuple[Place, Place]:
    """Places of the oldest and the latest change; both the very beginning if there is none yet."""
    log = key(stream, "log")
    with client.pipeline() as pipe:
        pipe.xrange(log, count=1)
        pipe.xrevrange(log, count=1)
        first, last = pipe.execute()
    return tuple(_place(some[0][0]) if some else Place(0, 0) for some in (first, last))  # type: ignore[return-value]


def _place(name: bytes) -> Place:
    milliseconds, number = name.split(b"-")
    return Place(int(milliseconds), int(number))


def _change(stream: str, name: bytes, fields: dict[bytes, bytes]) -> Change:
    # The line is a JSON object of the worker's own: put together as text, as floods of changes come in thousands.
    night, line = fields[b"night"].decode(), fields[b"line"]
    about = to_json({"stream": stream, "night": night, "object": fields[b"object"].decode()})
    return Change(_place(name), night, about[:-1] + b"," + line[1:] if len(line) > 2 else about)
