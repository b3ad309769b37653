"""Doing something until Redis (or whatever else is out for a while) lets it happen, while the stream is paused."""

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import redis

from ..schemas.errors import SkimError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# Doubling from 0.1 s to 2 s with jitter: work goes on within two seconds of a recovery; a fleet doesn't knock at once.
FIRST_SECONDS, MOST_SECONDS = 0.1, 2.0
# The same trouble is logged this often.
LOG_SECONDS = 10.0


class Unavailable(SkimError):
    """Something is out for now, and will be tried again."""


class Interrupted(SkimError):
    """The wait was given up: the worker is told to stop, or what was waited for is no longer wanted."""


class Patience:
    """Tries again and again. `idle(seconds)` is how the time between is spent: it keeps Kafka's group alive.

    `trouble(kind)` is told of each failure, `over()` when it is past. Clock and chance may be replaced.
    """

    def __init__(
        self,
        idle: Callable[[float], None],
        trouble: Callable[[str], None],
        over: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.idle = idle
        self.trouble = trouble
        self.over = over
        self.clock = clock
        self.chance = chance
        self.logged: dict[str, float] = {}

    def insist(self, work: Callable[[], Result], wanted: Callable[[], bool]) -> Result:
        """What `work` answers, once it does. Raises `Interrupted` when it is no longer `wanted`."""
        delay, troubled = FIRST_SECONDS, False
        try:
            while True:
                try:
                    return work()
                except (redis.RedisError, Unavailable) as error:
                    if not passes(error):
                        raise
                    troubled = True
                    self._tell(error)
                    self.idle(delay * (0.5 + 0.5 * self.chance()))
                    delay = min(2 * delay, MOST_SECONDS)
                    if not wanted():
                        raise Interrupted(str(error)) from error
        finally:  # however it ends: what was paused is to go on
            if troubled:
                self.over()
                log.info("goes on")

    def _tell(self, error: Exception) -> None:
        kind, now = kind_of(error), self.clock()
        self.trouble(kind)
        if now - self.logged.get(kind, -LOG_SECONDS) >= LOG_SECONDS:
            self.logged[kind] = now
            log.warning("paused", extra={"kind": kind, "reason": str(error)})


def later(work: Callable[[], Result]) -> Callable[[], Result]:
    """Start `work` in a thread; what is returned answers its result, or raises `Unavailable` until it is there."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # nobody waits for it who has to end

    def answer() -> Result:
        if not future.done():
            raise Unavailable("what was begun in another thread isn't done yet")
        return future.result()

    return answer


#: A closed set of what goes wrong, for metrics; the first that fits.
KINDS: dict[str, tuple[type[Exception], ...]] = {
    "unavailable": (Unavailable,),  # something else than Redis
    "loading": (redis.BusyLoadingError,),
    "read_only": (redis.ReadOnlyError,),
    "out_of_memory": (redis.OutOfMemoryError,),
    "authentication": (redis.AuthenticationError, redis.exceptions.NoPermissionError),
    "timeout": (redis.TimeoutError,),
    "connection": (redis.ConnectionError,),
    "response": (redis.ResponseError,),
    "other": (Exception,),
}


# Answers of a Redis that may think better of it; any other error of an answer is a mistake that no waiting mends.
PASSING = ("MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "NOSCRIPT", "UNKILLABLE")
_FATAL_KINDS = ("response", "other")


def passes(error: Exception) -> bool:
    """Whether waiting may help."""
    return kind_of(error) not in _FATAL_KINDS or str(error).startswith(PASSING)


def kind_of(error: Exception) -> str:
    """Which of `KINDS` an error is.

    >>> kind_of(redis.BusyLoadingError()), kind_of(redis.ResponseError("MISCONF"))
    ('loading', 'response')
    """
    return next(kind for kind, types in KINDS.items() if isinstance(error, types))
