"""`/live` and `/ready` of a worker, beside its `/metrics`: for Kubernetes' probes and Docker's health check."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from .address import Address

# The loop turns ten times a second; a batch, a restore, or what a rebalance saves takes seconds, compiling half a
# minute. What takes longer without any of them asking whether to stop is stuck.
SILENT_SECONDS = 120.0
HEADERS = (("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store"))


class Watched(Protocol):
    """What is asked of a source."""

    waiting: set[Address]
    astray: set[Address]
    positions: dict[Address, int]


class Health:
    """Knows when the worker's loop last turned, and what its partitions wait for.

    `paused()` is whether the worker waits for Redis, dead letters or the registry; `clock` counts seconds, monotonic.
    """

    def __init__(self, paused: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self.paused = paused
        self.clock = clock
        self.turned = clock()
        self.source: Watched | None = None

    def watching(self, stopping: Callable[[], bool]) -> Callable[[], bool]:
        """`stopping`, which a worker asks at every turn and in every pause: so it is seen to live."""

        def asked() -> bool:
            self.turned = self.clock()
            return stopping()

        return asked

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Whether the loop turns; a worker that waits for Redis lives.

        >>> now = [0.0]
        >>> health = Health(paused=lambda: False, clock=lambda: now[0])
        >>> now[0] = 121.0
        >>> health.live()
        (False, {'live': False, 'silent_seconds': 121.0})
        """
        silent = self.clock() - self.turned
        live = silent <= SILENT_SECONDS
        return live, {"live": live, "silent_seconds": round(silent, 1)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every partition that came has been opened, and none waits. Having none is no reason against it."""
        reasons, source, opened = [], self.source, list[str]()
        if not self.live()[0]:
            reasons.append(f"no turn of the loop for {SILENT_SECONDS:.0f} s")
        if self.paused():
            reasons.append(
                "paused: Redis, the dead-letter topic or the registry doesn't answer; see skim_redis_errors_total"
            )
        if source is None:
            reasons.append("the topic isn't subscribed yet")
        else:
            opened = [one.name for one in sorted(source.positions.copy())]  # copies: the worker's thread changes them
            settling = sorted(source.waiting.copy() | source.astray.copy())
            reasons += [f"partition {one.name} is being opened" for one in settling]
        return not reasons, {"ready": not reasons, "reasons": reasons, "partitions": opened}

    def beside(self, metrics: WSGIApplication) -> WSGIApplication:
        """The application that answers `/live` and `/ready`, and hands all else on."""
        answers = {"/live": self.live, "/ready": self.ready}

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            answer = answers.get(environ.get("PATH_INFO", ""))
            if answer is None:
                return metrics(environ, start_response)
            good, told = answer()
            start_response("200 OK" if good else "503 Service Unavailable", [*HEADERS])
            return [json.dumps(told).encode() + b"\n"]

        return application
