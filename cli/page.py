"""The demo's page: a `skim serve` in a process of its own, as a user would start it."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from ..schemas.errors import SkimError

START_SECONDS = 30.0
_ADDRESS = re.compile(r"http://[^\s,;]+")


class PageError(SkimError):
    """The page can't be served; what the server said last is in `said`."""

    def __init__(self, problem: str, said: str) -> None:
        super().__init__(f"{problem}; it said:\n{said}" if said else problem)
        self.said = said


class Page:
    """The server; it comes up in the background. `port` 0 takes a free one."""

    def __init__(self, url: str, port: int, folder: Path) -> None:
        settings = folder / "page.toml"  # the store's URL may hold a password: not on the command line
        settings.write_text(f"[redis]\nurl = {json.dumps(url)}\n")
        self.log = folder / "page.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "skimstream.cli.main", "serve", "--config", str(settings), "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def address(self) -> str:
        """Where it is, once it listens. Raises `PageError` if it doesn't."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended, said = self.process.poll() is not None, self.log.read_text(errors="replace")
            if found := _ADDRESS.search(said):
                return found[0]
            if ended:
                raise PageError("the page can't be served", said[-2000:])
            time.sleep(0.05)
        raise PageError(f"the page was not served within {START_SECONDS:g} s", said[-2000:])

    def kill(self) -> None:
        """Whatever happened before: it is gone afterwards. It only reads, so nothing is left half-done."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
