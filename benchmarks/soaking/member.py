"""A worker as a process of its own, as a user runs it: `skim run`."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 120.0


class Member:
    """One worker of the group; a context manager. Its log is in `folder`."""

    def __init__(self, name: str, bootstrap: str, redis: str, topic: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            *(str(Path(sys.executable).with_name("skim")), "run", "behaviour", "--topic", topic),
            *("--kafka", bootstrap, "--redis", redis, "--metrics-port", str(self.port)),
        ]
        self.environment = {
            **os.environ,
            "SKIM_KAFKA__OPTIONS": '{"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}',
            "SKIM_STATE__CAPACITY": "20000",
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Run it, until it answers for its metrics."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self.command, env=self.environment, stdout=log, stderr=log
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                self.metrics()
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)
            else:
                return
        raise RuntimeError((self.folder / f"{self.name}.log").read_text()[-3_000:])

    def metrics(self) -> str:
        """What it tells Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def send(self, sign: signal.Signals) -> None:
        """A signal."""
        assert self.process is not None
        self.process.send_signal(sign)

    def kill(self) -> None:
        """As by a power cut."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
