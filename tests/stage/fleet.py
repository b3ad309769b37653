"""Workers as processes of their own that a test starts, kills, freezes and thaws; and what they have emitted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from .forker import ENTRY

ROOT = Path(__file__).resolve().parents[1]
WAIT_SECONDS = 90.0


class Fleet:
    """Workers of one stream, all with the same settings but for what `start` is given; a context manager."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.members: dict[str, int] = {}  # name → process id of those alive, as far as is known
        self.born = 0
        self._forker = subprocess.Popen(
            [sys.executable, "-m", "stage.forker"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._forker.stdout is not None
        assert self._forker.stdout.readline() == "ready\n"

    def start(
        self, point: str | None = None, after: int = 1, sign: signal.Signals = signal.SIGKILL, **more: Any
    ) -> str:
        """One more worker; it sends itself a signal where it reaches `point` the `after`th time. Answers its name.

        `more` is added to the settings, section by section.
        """
        self.born += 1
        name = f"member-{self.born}"
        sections = {
            section: {**self.settings.get(section, {}), **value} if isinstance(value, Mapping) else value
            for section, value in more.items()
        }
        request = {
            "settings": {**self.settings, **sections},
            "folder": str(self.folder),
            "name": name,
            "point": point,
            "after": after,
            "signal": sign,
        }
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps(request) + "\n")
        self._forker.stdin.flush()
        self.members[name] = int(self._forker.stdout.readline())
        return name

    def alive(self, name: str) -> bool:
        """Whether a worker's process is there (a frozen one is)."""
        try:
            os.kill(self.members[name], 0)
        except ProcessLookupError:
            return False
        return True

    def dead(self, name: str) -> bool:
        """Not `alive`."""
        return not self.alive(name)

    def kill(self, name: str) -> None:
        """kill -9."""
        self._signal(name, signal.SIGKILL)
        wait_for(lambda: not self.alive(name), f"{name} dies")
        del self.members[name]

    def freeze(self, name: str) -> None:
        """SIGSTOP: it neither works nor dies."""
        self._signal(name, signal.SIGSTOP)

    def frozen(self, name: str) -> bool:
        """Whether it has been stopped, by itself perhaps."""
        stat = Path(f"/proc/{self.members[name]}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def thaw(self, name: str) -> None:
        """SIGCONT: it goes on as if nothing had happened."""
        self._signal(name, signal.SIGCONT)

    def leave(self, name: str) -> None:
        """SIGTERM, and wait: it finishes in good order."""
        self._signal(name, signal.SIGTERM)
        wait_for(lambda: not self.alive(name), f"{name} ends: {self.log(name)[-3000:]}")
        del self.members[name]

    def log(self, name: str) -> str:
        """What a worker logged."""
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def logs(self) -> str:
        """What all workers logged."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def has_emitted(self, name: str) -> bool:
        """Whether a worker has emitted anything."""
        path = self.folder / f"{name}.emitted"
        return path.exists() and path.stat().st_size > 0

    def busy(self) -> int:
        """How many workers have emitted anything."""
        return sum(path.stat().st_size > 0 for path in self.folder.glob("*.emitted"))

    def repeated(self) -> int:
        """How many scores were worked out more than once, the first time in vain."""
        return sum(path.stat().st_size // ENTRY.size for path in self.folder.glob("*.emitted")) - len(self.emitted())

    def emitted(self) -> dict[tuple[int, int], float]:
        """Every score that was emitted, by partition and offset. The same event twice must have got the same score."""
        found: dict[tuple[int, int], float] = {}
        for place, score in self._entries():
            before = found.setdefault(place, score)
            assert before == score or (before != before and score != score)
        return found

    def last_emitted(self) -> dict[tuple[int, int], float]:
        """As `emitted`, of workers one after another, where what was emitted in vain may have another score."""
        return dict(self._entries())

    def _entries(self) -> Iterator[tuple[tuple[int, int], float]]:
        for number in range(1, self.born + 1):
            path = self.folder / f"member-{number}.emitted"
            data = path.read_bytes() if path.exists() else b""
            whole = len(data) - len(data) % ENTRY.size
            for partition, offset, score in ENTRY.iter_unpack(data[:whole]):
                yield (partition, offset), score

    def _signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.members[name], number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.members):
            if self.alive(name):
                self.kill(name)
        self._forker.kill()
        self._forker.wait()
        for stream in (self._forker.stdin, self._forker.stdout):
            if stream is not None:
                stream.close()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Until it holds; an AssertionError that says what didn't happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it didn't happen that {what}"
        time.sleep(0.01)
