"""A rekey stage that dies: one process that has everything loaded, and a fork of it for each life.

`python rekeying.py <bootstrap> <topic> <member> <size>` reads lives from stdin, `<signal> <point> <count>` each: the
process sends itself the signal when it reaches the point for the count-th time (point "clock": after so many ms), and
its answer is `stopped <pid>` or `ended <status>`, as `os.waitpid` gives it.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from skimstream.consumer.rekey import Rekey
from skimstream.consumer.topics import Topics
from skimstream.schemas.columns import Wanted
from skimstream.schemas.decode import Decoder

POINTS = ("opened", "begun", "produced", "sent", "committed")


def stage(
    bootstrap: str,
    topic: Topics | str,
    member: str,
    size: int,
    reached: Callable[[str], None] = lambda point: None,
    group: str = "g.rekey",
    **more: Any,
) -> Rekey:
    """A stage for JSON messages with a `user_id`; `more` goes to its consumer."""
    plain: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0, "error_cb": lambda error: None}
    named = {"group.instance.id": member} if member else {}
    consumer = {**plain, **named, "group.id": group, "session.timeout.ms": 6_000, **more}
    decoder = Decoder(Wanted(texts=("user_id",)), "json")
    return Rekey(topic, 4, decoder, "user_id", consumer, plain, member=member, size=size, reached=reached)


class Lives:
    """Lives of a stage, one after the other; ends with the block."""

    def __init__(self, bootstrap: str, topic: str, member: str, size: int, **more: Any) -> None:
        options = [f"{name}={value}" for name, value in more.items()]
        command = [sys.executable, __file__, bootstrap, topic, member, str(size), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def life(self, number: signal.Signals, point: str, count: int) -> tuple[str, int]:
        """Live until the signal; how it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(number.value, point, count, file=self.process.stdin, flush=True)
        how, value = self.process.stdout.readline().split()
        return how, int(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


def live(arguments: list[str], number: int, point: str, count: int) -> None:
    bootstrap, topic, member, size, *more = arguments
    parent, left = os.getppid(), [count]

    def reached(at: str) -> None:
        left[0] -= at == point
        if left[0] == 0:
            if number == signal.SIGSTOP:
                rekey.producer.flush(5)  # what is produced is in the log, and not still on its way
            os.kill(os.getpid(), number)
            left[0] = -1

    if point == "clock":
        threading.Timer(count / 1000, os.kill, (os.getpid(), number)).start()
    options: Any = dict(one.split("=") for one in more)
    rekey = stage(bootstrap, topic, member, int(size), reached, **options)
    rekey.run(lambda: os.getppid() != parent)


def main(arguments: list[str]) -> None:
    for line in sys.stdin:
        number, point, count = line.split()
        child = os.fork()
        if child == 0:
            try:
                live(arguments, int(number), point, int(count))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, os.WUNTRACED)
        print(*(("stopped", child) if os.WIFSTOPPED(status) else ("ended", status)), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(sys.argv[1:])
