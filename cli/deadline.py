"""A process that was told to stop ends in time, whatever it waits for."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import typer

SIGNALS = frozenset((signal.SIGINT, signal.SIGTERM))


class Deadline:
    """Ends the process `seconds` after the first SIGINT or SIGTERM, with exit code 1 and a sentence; a context manager.

    The time counts from the signal itself: Python's own handlers wait for the main thread, which may be inside of a
    call. `undone()` says what would have been done. Only in the main thread.
    """

    def __init__(self, seconds: float, undone: Callable[[], str], end: Callable[[int], None] = os._exit) -> None:
        self.seconds = seconds
        self.undone = undone
        self.end = end
        self._heard, self._told = socket.socketpair()
        self._over = threading.Event()
        self._before = -1

    def __enter__(self) -> Self:
        self._told.setblocking(False)
        self._before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        signal.set_wakeup_fd(self._before)
        self._told.close()

    def _watch(self) -> None:
        """The bytes that arrive are numbers of signals (`signal.set_wakeup_fd`); none means that all is over."""
        with self._heard:
            while SIGNALS.isdisjoint(told := self._heard.recv(1)):
                if not told:
                    return
        if not self._over.wait(self.seconds):
            typer.echo(f"skim: still not done {self.seconds:g} s after it was told to stop; {self.undone()}", err=True)
            self.end(1)
