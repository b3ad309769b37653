"""How far a worker has come with what waits for it, and when it will be through: a bar on a terminal, else lines."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from ..consumer.worker import Worker

PLAIN_SECONDS, LOOK_SECONDS = 10.0, 1.0
# A partition that was just opened doesn't know its lag before the first fetch.
LOOKS_TO_BE_SURE = 3
MOST_SECONDS = 366 * 86_400.0  # further ahead nothing can be estimated


class Backfill:
    """A context manager with a thread that looks at the worker's heartbeat each second. No score depends on it.

    ends: there is an end (`--until`), so the worker is never "live". wanted: else nothing is said at all.
    """

    def __init__(
        self,
        workers: Sequence["Worker"],
        ends: bool,
        wanted: bool,
        say: Callable[[str], None] = lambda line: typer.echo(f"skim: {line}", err=True),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.workers = workers
        self.ends = ends
        self.wanted = wanted
        self.say = say
        self.clock = clock
        self.began: tuple[float, int] | None = None  # when there was first anything, and what was done by then
        self.said = clock()
        self.caught_up = 0  # looks in a row at which nothing was left
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="backfill", daemon=True)

    def look(self) -> tuple[int, int] | None:
        """Messages done and left, None before there is a partition; says a line if it is time."""
        if not self.workers or not (heart := self.workers[0].heartbeat).partitions:
            return None
        done, left, now = heart.consumed + heart.relearned, heart.lag, self.clock()
        self.caught_up = 0 if left else self.caught_up + 1
        if self.began is None:
            self.began = (now, done)
        if not self.ends and self.caught_up == LOOKS_TO_BE_SURE:
            self.say(f"live: {done:,} messages done, none left")
        elif left and now - self.said >= PLAIN_SECONDS and not sys.stderr.isatty():
            self.said = now
            self.say(in_words(done, left, now - self.began[0], done - self.began[1], now))
        return done, left

    @property
    def live(self) -> bool:
        """Whether nothing more is to be said."""
        return not self.ends and self.caught_up >= LOOKS_TO_BE_SURE

    def __enter__(self) -> Self:
        if self.wanted:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self.wanted:
            self._thread.join()  # what is on the terminal is taken away before the last line

    def _follow(self) -> None:
        if not sys.stderr.isatty():
            while not self.live and not self._over.wait(LOOK_SECONDS):
                self.look()
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("messages", total=None)
            while not self.live and not self._over.wait(LOOK_SECONDS):
                if (found := self.look()) is not None:
                    bar.update(task, completed=found[0], total=sum(found))


def in_words(done: int, left: int, seconds: float, lately: int, now: float) -> str:
    """One line: how much is done and left, how fast (`lately` messages in `seconds`), when it is through.

    >>> in_words(30_000, 6_000, 10.0, 20_000, 0.0)
    '30,000 messages done, 6,000 left, 2,000 a second: through at 00:00:03 UTC (0:00:03)'
    >>> in_words(5, 6_000, 10.0, 0, 0.0)
    '5 messages done, 6,000 left'
    """
    line = f"{done:,} messages done, {left:,} left"
    if lately <= 0 or seconds <= 0:
        return line
    rate = lately / seconds
    if left / rate > MOST_SECONDS:
        return f"{line}, {rate:,.3f} a second"
    more = timedelta(seconds=round(left / rate))
    through = datetime.fromtimestamp(now, UTC) + more
    date = f"{through:%H:%M:%S}" if more < timedelta(hours=12) else f"{through:%Y-%m-%d %H:%M}"
    return f"{line}, {rate:,.0f} a second: through at {date} UTC ({more})"
