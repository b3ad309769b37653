"""What happens around the worker that is looked at, one fault after the other."""

import signal
import time
from collections.abc import Callable

from brokers.redis import RedisServer

from .member import Member

FROZEN_SECONDS = 4.0
# Longer than the session's timeout: its partitions are another's when it wakes, and it is refused.
ZOMBIE_SECONDS = 9.0


class Faults:
    """`done` counts them by name."""

    def __init__(self, store: RedisServer, other: Member) -> None:
        self.store = store
        self.other = other
        self.done: dict[str, int] = {}
        self._turn: tuple[Callable[[], None], ...] = (
            self.worker_killed,
            self.redis_frozen,
            self.worker_frozen,
            self.redis_killed,
        )

    def next(self) -> str:
        """Do the next one; its name."""
        fault = self._turn[sum(self.done.values()) % len(self._turn)]
        name = fault.__name__.replace("_", " ")
        fault()
        self.done[name] = self.done.get(name, 0) + 1
        return name

    def worker_killed(self) -> None:
        """The other worker, which then starts again."""
        self.other.kill()
        self.other.start()

    def worker_frozen(self) -> None:
        """The other worker, until its partitions are another's."""
        self.other.send(signal.SIGSTOP)
        time.sleep(ZOMBIE_SECONDS)
        self.other.send(signal.SIGCONT)

    def redis_frozen(self) -> None:
        """Redis answers nobody for a while."""
        self.store.pause()
        time.sleep(FROZEN_SECONDS)
        self.store.resume()

    def redis_killed(self) -> None:
        """Redis comes back from its log."""
        self.store.kill()
        self.store.start()
