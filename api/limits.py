"""How often a client may ask: a token bucket each."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

CLIENTS = 10_000  # remembered; whoever asked least recently is forgotten, and has a full bucket again


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, refilled by `per_second`."""

    per_second: float = 20.0
    burst: int = 100


class Buckets:
    """The clients' buckets; `clock` gives seconds.

    >>> now = 0.0
    >>> buckets = Buckets(Rate(per_second=2, burst=1), clock=lambda: now)
    >>> buckets.wait("a"), buckets.wait("a"), buckets.wait("b")
    (0.0, 0.5, 0.0)
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = monotonic) -> None:
        self.rate = rate
        self.clock = clock
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait(self, client: str) -> float:
        """0 if the client may ask now, which takes a token; else the seconds until it may."""
        now = self.clock()
        tokens, at = self._known.pop(client, (float(self.rate.burst), now))
        tokens = min(float(self.rate.burst), tokens + (now - at) * self.rate.per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate.per_second
        self._known[client] = (tokens if wait else tokens - 1, now)
        if len(self._known) > CLIENTS:
            self._known.popitem(last=False)
        return wait
