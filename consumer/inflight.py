"""The crash-loop breaker: finds the message that ends the process (a segmentation fault, memory), and sets it aside.

Keys, for the stream `ztf`; <partition> is `<topic>/<number>`:
    skim:{ztf}:inflight     hash: <partition> → <offset>:<crashes>:batch or …:alone
    skim:{ztf}:quarantine   hash: <partition> → offsets, separated by commas

The first batch after an assignment is marked before it is touched; the commit takes the mark away. Who finds a mark at
the partition's offset knows that a worker has died there, and goes on message by message, each marked alone. A message
alone in flight when two more workers died is quarantined: it becomes a dead letter and is never touched again.
"""

from dataclasses import dataclass

import redis

from .board import key

# Killed by someone twice while the same message was alone in flight: next to impossible, it is there for a millisecond.
CRASHES_ALONE = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """What was in flight at `offset` when workers died, `crashes` times: the batch from there on, or it alone.

    >>> Mark.read("120:2:alone", offset=120), Mark.read("120:1:batch", offset=121)
    (Mark(offset=120, crashes=2, alone=True), Mark(offset=121, crashes=0, alone=False))
    """

    offset: int
    crashes: int = 0
    alone: bool = False

    @classmethod
    def read(cls, text: str, offset: int) -> "Mark":
        """The stored mark, if it stands at `offset`; else nothing died there."""
        parts = text.split(":")
        if len(parts) != 3 or parts[0] != str(offset) or not parts[1].isdigit():
            return cls(offset)
        return cls(offset, int(parts[1]), parts[2] == "alone")

    @property
    def suspicious(self) -> bool:
        """Whether to go on message by message."""
        return self.crashes > 0

    @property
    def guilty(self) -> bool:
        """Whether the message at the offset is known to end the process."""
        return self.alone and self.crashes >= CRASHES_ALONE


class Inflight:
    """Marks and quarantine of one stream. Raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self.client = client
        self.marks = key(stream, "inflight")
        self.quarantine = key(stream, "quarantine")

    def put(self, partition: str, offset: int, crashes: int, alone: bool) -> None:
        """Say what is touched next; `crashes` counts this time, too."""
        self.client.hset(self.marks, partition, f"{offset}:{crashes}:{'alone' if alone else 'batch'}")

    def clear(self, partition: str) -> None:
        """Nothing is in flight: the worker leaves in good order."""
        self.client.hdel(self.marks, partition)

    def set_aside(self, partition: str, offsets: frozenset[int]) -> None:
        """These messages are never to be touched."""
        self.client.hset(self.quarantine, partition, ",".join(map(str, sorted(offsets))))


def quarantined(text: str) -> frozenset[int]:
    """Offsets as stored.

    >>> sorted(quarantined("7,12"))
    [7, 12]
    """
    return frozenset(int(one) for one in text.split(",") if one.isdigit())
