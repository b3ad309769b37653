"""The watchdog: a worker that has work and doesn't get on with it ends, so that whoever started it notices."""

import time
from collections.abc import Callable

from ..schemas.errors import SkimError

SECONDS = 300.0


class NoProgress(SkimError):
    """There was lag and nothing was applied for too long."""

    def __init__(self, seconds: float, lag: int) -> None:
        super().__init__(f"{lag} messages wait, and none was applied for {seconds:.0f} s; see the log why")
        self.seconds = seconds
        self.lag = lag


class Watchdog:
    """Looked at from time to time. Idle without lag is no reason to bark, nor is a pause that has a name."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.clock = clock
        self.done = -1
        self.since = clock()

    def see(self, done: int, lag: int) -> None:
        """`done`: messages dealt with so far; `lag`: messages that wait. Raises `NoProgress`.

        >>> now = [0.0]
        >>> dog = Watchdog(60, clock=lambda: now[0])
        >>> dog.see(done=5, lag=10); now[0] = 61.0
        >>> dog.see(done=5, lag=10)
        Traceback (most recent call last):
        skimstream.consumer.watchdog.NoProgress: 10 messages wait, and none was applied for 60 s; see the log why
        """
        now = self.clock()
        if done != self.done or lag == 0:
            self.done, self.since = done, now
        elif now - self.since > self.seconds:
            raise NoProgress(self.seconds, lag)

    def excuse(self) -> None:
        """What passed until now was a pause with a reason."""
        self.since = self.clock()
