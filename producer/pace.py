"""How fast events are sent."""

import time
from collections.abc import Callable


class Pace:
    """Keeps a stream at `rate` events a second; None means as fast as possible.

    After a stall it catches up, but never by more than `BURST` seconds' worth at once. Sleeps are cut into steps of
    at most `STEP` seconds, so that a signal or a stop flag is noticed soon.

    >>> now = [0.0]
    >>> def sleep(seconds): now[0] += seconds
    >>> pace = Pace(rate=10, clock=lambda: now[0], sleep=sleep)
    >>> for _ in range(11): pace.wait()
    >>> round(now[0], 6)
    1.0
    """

    BURST = 1.0
    STEP = 0.1

    def __init__(
        self,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if rate is not None and not 0 < rate < float("inf"):
            raise ValueError(f"the rate must be above 0 events a second (None for no limit), not {rate!r}")
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._due: float | None = None  # when the next event may go

    def wait(self) -> None:
        """Returns when the next event may be sent."""
        if self.rate is None:
            return
        now = self._clock()
        due = now if self._due is None else max(self._due, now - self.BURST)
        self._due = due + 1 / self.rate
        while (left := due - now) > 0:
            self._sleep(min(left, self.STEP))
            now = self._clock()
