"""A dead letter as a Kafka message: written by the worker, read by `skim dlq`.

The value and the key are the message's own, as they came. The headers say the rest:
    reason, detail                       why it is dead: a word of `schemas.errors.REASONS`, and a sentence
    topic, partition, offset, timestamp  where it stood; the time is Kafka's, in ms since 1970
    schema                               what it says of its schema, if it says so: Confluent's id, or a container's
                                         `sha256:` and 16 hexadecimal digits of the text
    skimstream                           the version that gave it up
    omitted                              only if the value was too long for the dead-letter topic: its bytes, left out
    original.<name>                      the message's own headers, in order
A receipt says that a letter was sent again: no value, the letter's place, and `replayed_to`, a topic.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import NamedTuple, Self

from confluent_kafka import Message

from ..schemas.container import MAGIC, read_header
from ..schemas.errors import DecodeError
from ..schemas.framing import confluent_id
from .batch import Batch, headers_of
from .outgoing import Undeliverable, Wire

SUFFIX = ".dlq"
ORIGINAL = "original."
#: On a message that was sent again: the place of the original.
REPLAYED = "skimstream.replayed"

#: Names and values, in order; a name may come twice, a value may be missing.
Pairs = tuple[tuple[str, bytes | None], ...]


class DeadLetterError(Undeliverable):
    """A dead letter couldn't be delivered, so the batch must not be committed."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(
            f"the dead-letter topic {topic} doesn't take messages ({problem}); see that it exists and is writable"
        )
        self.topic = topic
        self.problem = problem


class Place(NamedTuple):
    """Where a message stood; with its time, since a topic made anew counts from 0 again.

    >>> str(Place("alerts", 3, 1207, 1_790_000_000_000))
    'alerts/3/1207'
    """

    topic: str
    partition: int
    offset: int
    timestamp: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def read(cls, headers: dict[str, str]) -> Self:
        """The place that headers tell. Raises `KeyError`, `ValueError` if they don't."""
        numbers = (int(headers[name]) for name in ("partition", "offset", "timestamp"))
        return cls(headers["topic"], *numbers)

    def headers(self) -> Wire:
        """The headers that tell it."""
        return _encoded((name, str(value)) for name, value in self._asdict().items())


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead message: where it stood, its bytes as they came, its key, its own headers, and why it is dead.

    A `Parcel`.
    """

    place: Place
    value: bytes | None
    reason: str
    detail: str
    key: bytes | None = None
    original: Pairs = ()
    schema: str = ""
    omitted: int = 0
    skimstream: str = field(default_factory=lambda: version("skimstream"))
    box: str = ""  # after whom its topic is named, if not after the one where the message stood

    @classmethod
    def of(cls, batch: Batch, index: int, error: DecodeError, box: str = "") -> Self:
        """The letter of a batch's message."""
        value = batch.values[index]
        place = Place(*batch.address, batch.offsets[index], batch.timestamps[index])
        key, headers = batch.origin(index)
        # Nothing may look into a message that has ended the process.
        schema = schema_named(value) if value is not None and error.reason != "crash" else ""
        return cls(place, value, error.reason, error.detail, key, tuple(headers or ()), schema, box=box)

    @property
    def topic(self) -> str:
        """Where it goes."""
        return (self.box or self.place.topic) + SUFFIX

    def lighter(self) -> Self | None:
        """The letter when its value is too long for the topic: what is left out is still where it stood."""
        if self.omitted or not self.value:
            return None
        return replace(self, value=None, key=None, original=(), omitted=len(self.value))

    def refused(self, problem: str) -> DeadLetterError:
        """What it means if its topic doesn't take it."""
        return DeadLetterError(self.topic, problem)

    def headers(self) -> Wire:
        """What it says of itself."""
        said = {"reason": self.reason, "detail": self.detail, "schema": self.schema, "skimstream": self.skimstream}
        if self.omitted:
            said["omitted"] = str(self.omitted)
        original = ((ORIGINAL + name, value) for name, value in self.original)
        return [*self.place.headers(), *_encoded(said.items()), *original]

    def restored(self) -> Wire:
        """The message's own headers, and where it stood."""
        own = ((name, value) for name, value in self.original if name != REPLAYED)
        return [*own, (REPLAYED, str(self.place).encode())]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A letter was sent again, to a topic."""

    place: Place
    topic: str

    def headers(self) -> Wire:
        """What it says of itself."""
        return [*self.place.headers(), ("replayed_to", self.topic.encode())]


def read(message: Message) -> Letter | Receipt | None:
    """The letter or receipt in a message of a dead-letter topic; None if it is something else. Once a message."""
    pairs: Pairs = tuple(headers_of(message) or ())
    said = texts(pairs)
    try:
        place = Place.read(said)
        if "replayed_to" in said:
            return Receipt(place, said["replayed_to"])
        omitted, reason, detail = int(said.get("omitted", "0")), said["reason"], said["detail"]
    except (KeyError, ValueError):
        return None
    original = tuple((name.removeprefix(ORIGINAL), value) for name, value in pairs if name.startswith(ORIGINAL))
    schema, by = said.get("schema", ""), said.get("skimstream", "")
    return Letter(place, message.value(), reason, detail, message.key(), original, schema, omitted, by)


def schema_named(value: bytes) -> str:
    """What a message says of its schema: `704` or `sha256:…`; empty if nothing that can be read.

    >>> schema_named(b"\\x00\\x00\\x00\\x02\\xc0 and a record")
    '704'
    """
    if value.startswith(MAGIC):
        try:
            return "sha256:" + hashlib.sha256(read_header(value).schema).hexdigest()[:16]
        except DecodeError:
            return ""
    schema_id = confluent_id(value)
    return "" if schema_id is None else str(schema_id)


def texts(pairs: Pairs) -> dict[str, str]:
    """Our own headers as text; of a name that comes twice, the first counts."""
    return {name: (value or b"").decode("utf-8", "replace") for name, value in reversed(pairs)}


def _encoded(pairs: Iterable[tuple[str, str]]) -> Wire:
    return [(name, text.encode("utf-8", "replace")) for name, text in pairs]
