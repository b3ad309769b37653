"""The heartbeat: one line from time to time that tells an idle worker from a stuck one.

It is logged by a thread of its own, so a worker that hangs inside of a call is told of, too.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

log = logging.getLogger(__name__)

SECONDS = 60.0
# The loop takes 0.1 s a turn, and tells each second how it stands. A start with many partitions, or a broker that
# doesn't answer, takes some ten.
TURN_SECONDS = 30.0

#: working: something was applied since the last line. idle: nothing waits. waiting: paused, for the `reason`. stuck:
#: messages wait and none was applied, or the loop no longer turns.
State = Literal["working", "idle", "waiting", "stuck"]


class Heartbeat:
    """Told by the worker how it stands, says it every `seconds` (0: never) as a context manager.

    `clock` counts seconds, monotonic; `say` takes the line's fields.
    """

    def __init__(
        self,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[dict[str, Any]], None] = lambda fields: log.info("heartbeat", extra=fields),
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self.say = say
        self.consumed = self.scored = self.relearned = self.lag = self.partitions = 0
        self.waiting = ""  # why the worker pauses, empty if it doesn't
        self.turned = self.beaten = clock()  # when the worker was last heard of, when the last line was said
        self.told = (0, 0)  # consumed and relearned at the last line
        self._over = threading.Event()

    def see(self, consumed: int, scored: int, relearned: int, lag: int, partitions: int) -> None:
        """How the worker stands: messages since its start, messages that wait, partitions that are its own."""
        self.consumed, self.scored, self.relearned = consumed, scored, relearned
        self.lag, self.partitions, self.turned = lag, partitions, self.clock()

    def wait(self, reason: str) -> None:
        """It pauses, for a reason."""
        self.waiting, self.turned = reason, self.clock()

    def go_on(self) -> None:
        """It pauses no more."""
        self.waiting, self.turned = "", self.clock()

    def fields(self) -> dict[str, Any]:
        """The line's fields; the next one counts from here.

        >>> now = [0.0]
        >>> heart = Heartbeat(clock=lambda: now[0])
        >>> heart.see(consumed=600, scored=590, relearned=0, lag=0, partitions=2); now[0] = 60.0
        >>> heart.see(consumed=600, scored=590, relearned=0, lag=0, partitions=2)
        >>> heart.fields()["state"], heart.fields()["state"]
        ('working', 'idle')
        """
        now = self.clock()
        done, before, since = (self.consumed, self.relearned), self.told, now - self.beaten
        silent = now - self.turned
        state, reason = self._state(done != before, silent)
        self.told, self.beaten = done, now
        return {
            "state": state,
            **({"reason": reason} if reason else {}),
            "consumed": self.consumed,
            "scored": self.scored,
            "rate": round((done[0] - before[0]) / since, 1) if since > 0 else 0.0,
            "lag": self.lag,
            "partitions": self.partitions,
        }

    def _state(self, applied: bool, silent: float) -> tuple[State, str]:
        if silent > TURN_SECONDS:
            return "stuck", f"no turn of the loop for {silent:.0f} s"
        if self.waiting:
            return "waiting", self.waiting
        if applied:
            return "working", ""
        return ("stuck", "messages wait and none was applied") if self.lag else ("idle", "")

    def __enter__(self) -> Self:
        if self.seconds:
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(self.seconds):
            self.say(self.fields())
