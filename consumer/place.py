"""A place in a topic, as people name it: an end, a time, or the offsets of a file."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..schemas.errors import SkimError

End = Literal["earliest", "latest"]
WANTED = "earliest, latest, a time such as 2026-11-20T03:00Z (UTC if it has no offset), or a file of offsets"


class PlaceError(SkimError):
    """The place isn't one of this topic. Nothing was begun there."""

    def __init__(self, partition: str, problem: str) -> None:
        super().__init__(f"{partition}: {problem}")
        self.partition = partition
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Moment:
    """The first message whose timestamp, Kafka's, is this or later. milliseconds: since 1970."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset by `<topic>/<partition>`, read from a file."""

    file: Path
    by_partition: Mapping[str, int]

    def of(self, partition: str, among_others: bool = False) -> int | None:
        """A partition's offset, None if the file has none.

        Raises `PlaceError` if it is of other topics altogether, unless the partition's is one `among_others`.
        """
        topic = partition.rpartition("/")[0]
        if not among_others and all(name.rpartition("/")[0] != topic for name in self.by_partition):
            raise PlaceError(
                partition, f"{self.file} has no offset of the topic {topic} (<topic>/<partition> <offset>)"
            )
        return self.by_partition.get(partition)


Place = End | Moment | Offsets
#: "now": what the topic has when the worker starts.
Until = Literal["now"] | Moment | Offsets


def place_of(text: str) -> Place:
    """What `--from` means. Raises ValueError.

    >>> place_of("latest"), place_of("2026-11-20T03:00Z"), place_of("2026-11-20T04:00+01:00")
    ('latest', Moment(milliseconds=1795143600000), Moment(milliseconds=1795143600000))
    """
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    return moment_of(text) or offsets_of(text)


def until_of(text: str) -> Until:
    """What `--until` means. Raises ValueError.

    >>> until_of("now"), until_of("2026-11-20T03:00Z")
    ('now', Moment(milliseconds=1795143600000))
    """
    if text == "now":
        return "now"
    if text in ("earliest", "latest"):
        raise ValueError(f"{text!r} is no end: now, {WANTED.removeprefix('earliest, latest, ')}")
    return moment_of(text) or offsets_of(text)


def moment_of(text: str) -> Moment | None:
    """A time in ISO 8601; None if it is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return Moment(round(when.timestamp() * 1000))


def offsets_of(text: str) -> Offsets:
    """The offsets of a file: of `skim lag --json`, a JSON object, or names and offsets in turn. Raises ValueError."""
    file = Path(text)
    if not file.is_file():
        raise ValueError(f"{text!r} is none of these: {WANTED}")
    try:
        content = file.read_text(encoding="utf-8")
        pairs = list(_json(content) if content.lstrip().startswith("{") else _words(content))
        return Offsets(file, dict(_checked(pairs)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is no file of offsets: {error}") from error


def _json(content: str) -> Iterator[tuple[Any, Any]]:
    told = json.loads(content)
    if isinstance(partitions := told.get("partitions"), list):
        told = {
            one["name"]: one["offset"] for one in partitions if isinstance(one, dict) and {"name", "offset"} <= {*one}
        }
    return ((name, offset) for name, offset in told.items() if offset is not None)


def _words(content: str) -> Iterator[tuple[str, str]]:
    """Names and offsets in turn, on one line or on two, as redis-cli prints the board's hash."""
    words = [word for line in content.splitlines() for word in line.partition("#")[0].split()]
    if len(words) % 2:
        raise ValueError(f"{words[-1]!r} has no offset")
    return zip(words[::2], words[1::2], strict=True)


def _checked(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, int]]:
    seen = set[str]()
    for name, offset in pairs:
        topic, _, number = str(name).rpartition("/")
        if not topic or not number.isdecimal():
            raise ValueError(f"{name!r} is no <topic>/<partition>")
        if isinstance(offset, bool) or not str(offset).isdecimal():
            raise ValueError(f"{name} has {offset!r} for an offset")
        if name in seen:
            raise ValueError(f"{name} is in it twice")
        seen.add(name)
        yield name, int(offset)
    if not seen:
        raise ValueError("there is none in it")
