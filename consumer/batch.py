"""A batch: consecutive messages of one partition."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import cast

from confluent_kafka import Message

from ..schemas.decode import Headers
from .address import Address


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive messages of one partition. `first` is where the reader stood before, `following` where it stands now.

    Both may differ from the messages' own offsets by gaps (compaction, transaction markers). timestamps: Kafka's, ms.
    keys and headers are there if the framing needs them; `messages` has them at hand for the few that turn out dead.
    """

    address: Address
    first: int
    following: int
    offsets: list[int]
    values: list[bytes | None]
    timestamps: list[int]
    keys: list[bytes | None] | None = None
    headers: list[Headers | None] | None = None
    messages: Sequence[Message] | None = None

    @property
    def name(self) -> str:
        """`<topic>/<partition>`, as the board knows it."""
        return self.address.name

    def origin(self, index: int) -> tuple[bytes | None, Headers | None]:
        """Key and headers of one message; None where they can't be had. Not to be asked twice for one message."""
        if self.keys is not None and self.headers is not None:
            return self.keys[index], self.headers[index]
        if self.messages is None:
            return None, None
        return self.messages[index].key(), headers_of(self.messages[index])

    def split(self, offset: int) -> "tuple[Batch, Batch]":
        """The messages before `offset` and those from there on; together they cover the same stretch."""
        at = bisect_left(self.offsets, offset)
        middle = min(max(offset, self.first), self.following)
        return self._part(0, at, self.first, middle), self._part(at, len(self.offsets), middle, self.following)

    def _part(self, start: int, stop: int, first: int, following: int) -> "Batch":
        return Batch(
            self.address,
            first,
            following,
            self.offsets[start:stop],
            self.values[start:stop],
            self.timestamps[start:stop],
            self.keys[start:stop] if self.keys is not None else None,
            self.headers[start:stop] if self.headers is not None else None,
            self.messages[start:stop] if self.messages is not None else None,
        )


# Where a name isn't UTF-8, `message.headers()` (confluent-kafka 2.16) answers with a null pointer inside *and* an error
# set. Calls from C, such as this one, look for both and raise SystemError; Python's own, once specialised, don't look,
# and whatever touches the answer ends the process. The second call has no error set at all.
_call_headers = methodcaller("headers")


def headers_of(message: Message) -> Headers | None:
    """A message's headers; None if it has none, or one whose name isn't UTF-8. To be called once a message."""
    try:
        return cast(Headers | None, _call_headers(message))
    except (SystemError, UnicodeDecodeError):
        return None
