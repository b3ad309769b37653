"""SIGTERM, as systemd, Docker and Kubernetes send it: what a process of its own does with it, and in what time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import redis
from confluent_kafka import Producer

from brokers.mock import MockCluster
from brokers.proxy import FaultProxy
from brokers.redis import RedisServer
from skimstream.consumer.board import read_offsets
from stage.fleet import wait_for
from stage.listed import sessions

BIN = Path(sys.executable).parent
STREAM = "behaviour"


class Running:
    """A command as a process of its own; it has said that it is ready."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(BIN / "skim"), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
        try:
            wait_for(lambda: self.has_said("Ctrl-C to stop"), "it is ready")
        except AssertionError:
            self.process.kill()
            raise

    @property
    def said(self) -> str:
        return self.log.read_text()

    def has_said(self, words: str) -> bool:
        assert self.process.poll() is None, self.said
        return words in self.said

    def told_to_stop(self) -> tuple[float, str]:
        """Seconds until it ended, and its output."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return time.monotonic() - began, out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


def worker(folder: Path, kafka: str, redis_url: str, **more: str) -> Running:
    settings = {"SKIM_TOPIC": "events", "SKIM_CHECKPOINT__SECONDS": "3000", "SKIM_METRICS__PORT": "0", **more}
    return Running(folder, "run", STREAM, "--kafka", kafka, "--redis", redis_url, **settings)


@contextmanager
def load(kafka: str) -> Iterator[None]:
    """Events without end."""
    over, made = threading.Event(), sessions(500)
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0})

    def send() -> None:
        while not over.is_set():
            for event in made[:50]:
                producer.produce("events", event)
            producer.poll(0)
            over.wait(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        producer.purge()
        producer.flush(5)


def under_way(client: redis.Redis) -> Callable[[], bool]:
    return lambda: sum(read_offsets(client, STREAM).values()) > 200


def test_under_load_it_finishes_saves_and_exits_0(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str, tmp_path: Path
) -> None:
    servers = mock_cluster.bootstrap
    with load(servers), worker(tmp_path, servers, store_url, SKIM_HEARTBEAT__SECONDS="0.1") as running:
        wait_for(lambda: running.has_said('"state": "working"'), "its heartbeat says that it works")
        took, out = running.told_to_stop()
    assert running.process.returncode == 0, running.said
    assert took < 10
    tally = json.loads(out.splitlines()[-1])
    assert tally["consumed"] == tally["scored"] + sum(tally["unscored"].values()) + sum(tally["dead"].values())
    offsets = read_offsets(store, STREAM)
    assert tally["consumed"] == sum(offsets.values())
    checkpoints: Any = store.hgetall("skim:{behaviour}:checkpoints")
    learned = {name.decode(): int(value.decode().split(":")[0]) for name, value in checkpoints.items()}
    assert learned == offsets  # all of it was saved, though no checkpoint was due


@pytest.mark.parametrize("seconds", [pytest.param("20", marks=pytest.mark.nightly), "1.5"])
def test_while_redis_hangs_it_ends_in_time_and_says_what_is_not_saved(
    mock_cluster: MockCluster, redis_server: Callable[..., RedisServer], tmp_path: Path, seconds: str
) -> None:
    server = redis_server()
    with FaultProxy(server.address) as proxy, closing(server.client()) as client, load(mock_cluster.bootstrap):
        more = {"SKIM_SHUTDOWN__SECONDS": seconds, "SKIM_REDIS__TIMEOUT": "0.5" if seconds == "20" else "5"}
        with worker(tmp_path, mock_cluster.bootstrap, server.url_through(proxy.address), **more) as running:
            wait_for(under_way(client), "events are scored")
            proxy.half_open()
            took, out = running.told_to_stop()
        offsets, said = read_offsets(client, STREAM), running.said
    assert running.process.returncode == 1
    assert "nothing is lost" in said
    if seconds == "20":
        assert took < 10
        assert 0 <= sum(offsets.values()) - json.loads(out.splitlines()[-1])["consumed"] <= 500  # the batch in hand
        assert "skim: stopped, but not saved: events/0" in said
    else:
        assert took < 5
        assert "skim: still not done 1.5 s after it was told to stop; not saved: events/0" in said


@pytest.mark.nightly
def test_while_brokers_hang_it_ends_in_time(store: redis.Redis, store_url: str, tmp_path: Path) -> None:
    with MockCluster(1) as cluster, FaultProxy(cluster.bootstrap) as proxy:
        cluster.advertise(1, proxy.address)
        with (
            load(proxy.address),
            worker(tmp_path, proxy.address, store_url, SKIM_SHUTDOWN__SECONDS="3") as running,
        ):
            wait_for(under_way(store), "events are scored")
            proxy.half_open()
            took, _ = running.told_to_stop()
    assert took < 6
    assert running.process.returncode == 1
    assert "its partitions are saved; it may not have left the group" in running.said


def test_the_page_says_goodbye_to_those_who_follow_it(store: redis.Redis, store_url: str, tmp_path: Path) -> None:
    store.hset("skim:{ztf}:offsets", "t/0", 3)
    with Running(tmp_path, "serve", "--redis", store_url, "--port", "0") as running:
        address = running.said.split("the page is ")[1].split(",")[0]
        with httpx.stream("GET", f"{address}/api/v1/stream?stream=ztf") as follower:
            assert follower.status_code == 200
            took, _ = running.told_to_stop()
    assert running.process.returncode == 0, running.said
    assert took < 5
