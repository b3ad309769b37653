"""A dead-letter topic as a whole: which letters are in it, and which of them were sent again."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from .letter import SUFFIX, Letter, Place, read
from .stored import stored


@dataclass(slots=True)
class Entry:
    """A letter without its bytes: `at` is its partition and offset in the dead-letter topic."""

    at: tuple[int, int]
    place: Place
    reason: str
    detail: str
    schema: str
    bytes: int
    omitted: bool
    replayed: set[str] = field(default_factory=set)  # topics to which it was sent again


@dataclass(slots=True)
class Survey:
    """All letters by their place; a crash between delivery and commit leaves one twice (`repeats`, not counted)."""

    entries: dict[Place, Entry] = field(default_factory=dict)
    repeats: int = 0
    strange: int = 0  # messages that are neither letters nor receipts

    def reasons(self) -> dict[str, int]:
        """How many letters of each reason, most first."""
        return dict(Counter(entry.reason for entry in self.entries.values()).most_common())


def survey(messages: Iterable[Message]) -> Survey:
    """What the messages of a dead-letter topic come to."""
    found, receipts = Survey(), []
    for message in messages:
        letter = read(message)
        if letter is None:
            found.strange += 1
        elif not isinstance(letter, Letter):
            receipts.append(letter)
        elif letter.place in found.entries:
            found.repeats += 1
        else:
            found.entries[letter.place] = Entry(
                _at(message),
                letter.place,
                letter.reason,
                letter.detail,
                letter.schema,
                letter.omitted or len(letter.value or b""),
                bool(letter.omitted),
            )
    for receipt in receipts:  # of another partition than its letter, it may have come first
        if receipt.place in found.entries:
            found.entries[receipt.place].replayed.add(receipt.topic)
    return found


def letters(options: Mapping[str, Any], topic: str, at: Collection[tuple[int, int]]) -> Iterator[Letter]:
    """The letters at these places of a topic's dead-letter topic, bytes and all, one at a time."""
    for message in stored(options, topic + SUFFIX):
        if _at(message) in at:
            letter = read(message)
            if isinstance(letter, Letter):
                yield letter


def _at(message: Message) -> tuple[int, int]:
    return message.partition() or 0, message.offset() or 0
