"""The crash-loop breaker: notices that workers die at one offset, and sets the message aside that does it.

Keys, for the stream `ztf`; <partition> is `<topic>/<number>`:
    skim:{ztf}:inflight     hash: <partition> → <offset>:<deaths>
    skim:{ztf}:quarantine   hash: <partition> → offsets, separated by commas

The first batch after an assignment is marked before it is touched; the commit takes the mark away. Who finds a mark of
two deaths at the partition's offset has the batch read in another process first (probe.py). What ends that one is
quarantined: it becomes a dead letter and is never touched again. Dying alone proves nothing: workers are killed, too.
"""

import redis

from .board import key

# The one after which the mark is first found may have been anything.
SUSPICIOUS_DEATHS = 2


class Inflight:
    """Marks and quarantine of one stream. Raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self.client = client
        self.marks = key(stream, "inflight")
        self.quarantine = key(stream, "quarantine")

    def put(self, partition: str, offset: int, deaths: int) -> None:
        """Say what is touched next; `deaths` counts this time, too."""
        self.client.hset(self.marks, partition, f"{offset}:{deaths}")

    def clear(self, partition: str) -> None:
        """Nothing is in flight: the worker leaves in good order."""
        self.client.hdel(self.marks, partition)

    def set_aside(self, partition: str, offsets: frozenset[int]) -> None:
        """These messages are never to be touched."""
        self.client.hset(self.quarantine, partition, ",".join(map(str, sorted(offsets))))


def deaths_at(text: str, offset: int) -> int:
    """How many workers died with what follows `offset` in flight, by the stored mark.

    >>> deaths_at("120:2", 120), deaths_at("120:2", 121), deaths_at("", 0)
    (2, 0, 0)
    """
    at, _, deaths = text.partition(":")
    return int(deaths) if at == str(offset) and deaths.isdigit() else 0


def quarantined(text: str) -> frozenset[int]:
    """Offsets as stored.

    >>> sorted(quarantined("7,12"))
    [7, 12]
    """
    return frozenset(int(one) for one in text.split(",") if one.isdigit())
