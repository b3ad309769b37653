"""What moves on a terminal: `skim lag --watch` and the bar of a backfill, on a pseudo-terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
import redis
from confluent_kafka import Producer

from brokers.mock import MockCluster
from stage.listed import sessions

BIN = Path(sys.executable).parent
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")  # colours, and where to write


class Terminal:
    """A command with standard output and standard error on a terminal of 120 columns."""

    def __init__(self, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40", "OMP_NUM_THREADS": "1"}
        command = [str(BIN / "skim"), *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.written = ""

    def shows(self, pattern: str, seconds: float = 60.0) -> None:
        """Wait until what was written has it."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.read()):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.written!r}"
            time.sleep(0.05)

    def read(self) -> str:
        """All so far, without the codes."""
        try:
            self.written += os.read(self.ours, 1 << 20).decode(errors="replace")
        except (BlockingIOError, OSError):  # nothing new; or it has ended
            pass
        return CODES.sub("", self.written)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


def send(servers: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for event in sessions(count):
        producer.produce("t", event, partition=0)
    assert producer.flush(20) == 0


@pytest.mark.nightly
def test_lag_is_watched_until_ctrl_c(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    mock_cluster.create_topic("t", 1)
    send(mock_cluster.bootstrap, 1_200)
    where = ("--topic", "t", "--kafka", mock_cluster.bootstrap, "--redis", store_url)
    with Terminal("lag", "behaviour", *where, "--watch") as terminal:
        terminal.shows(r"not begun: 1,200 messages")
        send(mock_cluster.bootstrap, 34)
        terminal.shows(r"not begun: 1,234 messages")
        assert "\x1b[" in terminal.written  # drawn over, not line after line
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) in (0, 1, 130)
        assert "Traceback" not in terminal.read()


@pytest.mark.nightly
def test_a_backfill_has_a_bar_that_goes_away(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIM_BATCH__MOST", "5")  # so slow that the bar is seen, which moves once a second
    mock_cluster.create_topic("t", 1)
    send(mock_cluster.bootstrap, 4_000)
    where = ("--topic", "t", "--kafka", mock_cluster.bootstrap, "--redis", store_url, "--metrics-port", "0")
    with Terminal("run", "behaviour", *where, "--batch", "5", "--from", "earliest", "--until", "now") as terminal:
        terminal.shows(r"messages ━\S* +\d+/4000")
        terminal.shows("read until now, and saved")
        assert terminal.process.wait(60) == 0
        written = terminal.read()
        assert '"consumed": 4000' in written
        assert "━" not in written[written.rindex("skim: read until now") :]
        assert "\x1b[2K" in terminal.written[terminal.written.rindex("━") :]  # the bar's line is cleared
