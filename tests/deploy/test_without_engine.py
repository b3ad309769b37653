"""The stack's own services as plain processes: the image's start script, the commands and variables of
docker-compose.yml, a Redis with its redis.conf. Kafka is the mock cluster, and there is no container."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from brokers.redis import binary
from brokers.server import Unavailable, free_port
from stage.deployed import ROOT
from stage.stored import PASSWORD, Stored

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
# Some seconds on a quiet machine, with kernels that are compiled already.
WAIT_SECONDS = 120.0
# What would stand in .env.
CHOSEN = {"RATE": "max", "COUNT": "2500"}


class Stack:
    """Starts services with the addresses of this machine; `replaced` has them by the stack's own."""

    def __init__(self, folder: Path, replaced: dict[str, str]) -> None:
        self.folder = folder
        self.replaced = replaced
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/skim").symlink_to(Path(sys.executable).parent / "skim")
        (folder / "cpu").write_text("host\n")
        self.running: dict[str, subprocess.Popen[str]] = {}

    def here(self, text: str) -> str:
        """A word of the file, as it is on this machine."""
        text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: CHOSEN.get(found[1], found[2]), text)
        for there, here in self.replaced.items():
            text = text.replace(there, here)
        return text

    def start(self, name: str, **more: str) -> None:
        """Start a service, with a few more variables."""
        command = ("sh", str(ROOT / "deploy/skim.sh"), *(self.here(word) for word in SERVICES[name]["command"]))
        given = {key: self.here(value) for key, value in SERVICES[name]["environment"].items()}
        variables = {"PATH": "/usr/bin:/bin", "SKIM_HOME": str(self.folder), **given, **more}
        with (self.folder / f"{name}.log").open("w") as log:
            self.running[name] = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=log, text=True)

    def ended(self, name: str, told: signal.Signals | None = None) -> dict[str, Any]:
        """Its last line, once it has ended well; `told` ends it."""
        process = self.running.pop(name)
        if told is not None:
            process.send_signal(told)
        out, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, self.log(name)
        return dict(json.loads(out.splitlines()[-1])) if out else {}

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait(self, name: str, url: str) -> None:
        """Until the image's health check is content."""
        end = time.monotonic() + WAIT_SECONDS
        check = (sys.executable, str(ROOT / "deploy/alive.py"))
        while subprocess.run(check, env={"ALIVE_URL": url}, capture_output=True, check=False).returncode:
            assert self.running[name].poll() is None, self.log(name)
            assert time.monotonic() < end, self.log(name)
            time.sleep(0.2)


@pytest.fixture
def stack(tmp_path: Path, broker: str) -> Iterator[tuple[Stack, int, int]]:
    """The stack, and the ports of the worker's metrics and of the page."""
    try:
        binary()
    except Unavailable as error:
        pytest.skip(str(error))
    with Stored(password=PASSWORD) as stored:
        (tmp_path / "redis_url").write_text(stored.url)
        metrics, page = free_port(), free_port()
        replaced = {"kafka:19092": broker, "/run/secrets": str(tmp_path), "0.0.0.0": "127.0.0.1", "8000": str(page)}  # noqa: S104
        made = Stack(tmp_path / "home", replaced)
        yield made, metrics, page
        for process in made.running.values():
            process.kill()
            process.communicate()


@pytest.mark.parametrize("stream", ["behaviour", pytest.param("ztf", marks=pytest.mark.nightly)])
def test_an_anomaly_comes_out_of_the_api(stack: tuple[Stack, int, int], stream: str) -> None:
    it, metrics, page = stack
    worker, simulator = f"worker-{stream}", f"simulate-{stream}"
    it.start(worker, SKIM_METRICS__PORT=str(metrics))
    it.start("serve")
    it.wait("serve", f"http://127.0.0.1:{page}/live")
    it.wait(worker, f"http://127.0.0.1:{metrics}/live")
    it.start(simulator)
    assert it.ended(simulator)["undelivered"] == 0
    it.wait("serve", f"http://127.0.0.1:{page}/ready")  # there is a board
    it.wait(worker, f"http://127.0.0.1:{metrics}/ready")
    rows: list[dict[str, Any]] = []
    end = time.monotonic() + WAIT_SECONDS
    while not rows:
        assert time.monotonic() < end, it.log(worker)
        time.sleep(0.2)
        rows = httpx.get(f"http://127.0.0.1:{page}/api/v1/anomaly?n=1&stream={stream}").json()
    assert it.ended(worker, signal.SIGTERM)["scored"] > 0
    assert len(rows) == 1
