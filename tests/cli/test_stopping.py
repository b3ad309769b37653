"""SIGTERM, as systemd, Docker and Kubernetes send it: what a process of its own does with it, and in what time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def skim(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A running command that has said that it is ready."""
    process = subprocess.Popen(
        [str(BIN / "skim"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    with process:
        try:
            assert process.stderr
            process.args = next(line for line in process.stderr if "Ctrl-C to stop" in line)
            yield process
        finally:
            process.kill()


def worker(kafka: str, redis_url: str, **more: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    settings = {"SKIM_TOPIC": "events", "SKIM_CHECKPOINT__SECONDS": "3000", "SKIM_METRICS__PORT": "0", **more}
    return skim("run", STREAM, "--kafka", kafka, "--redis", redis_url, **settings)


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


def told_to_stop(process: "subprocess.Popen[str]") -> tuple[float, str, str]:
    """Seconds until it ended, and what it said."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    return time.monotonic() - began, out, errors


def under_way(client: redis.Redis, events: int = 200) -> Callable[[], bool]:
    return lambda: sum(read_offsets(client, STREAM).values()) > events


def test_under_load_it_finishes_saves_and_exits_0(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str
) -> None:
    often = {"SKIM_HEARTBEAT__SECONDS": "0.1"}
    with load(mock_cluster.bootstrap), worker(mock_cluster.bootstrap, store_url, **often) as process:
        wait_for(under_way(store), "events are scored")
        so_far = sum(read_offsets(store, STREAM).values())
        wait_for(under_way(store, so_far + 1_500), "they are for more than a second")
        took, out, errors = told_to_stop(process)
    assert process.returncode == 0, errors
    assert took < 10
    beats = [json.loads(line) for line in errors.splitlines() if '"heartbeat"' in line]
    assert {one["state"] for one in beats} & {"working"}
    assert beats[-1]["scored"] > 0
    tally = json.loads(out.splitlines()[-1])
    assert tally["consumed"] == tally["scored"] + sum(tally["unscored"].values()) + sum(tally["dead"].values())
    offsets = read_offsets(store, STREAM)
    assert tally["consumed"] == sum(offsets.values())
    checkpoints: Any = store.hgetall("skim:{behaviour}:checkpoints")
    learned = {name.decode(): int(value.decode().split(":")[0]) for name, value in checkpoints.items()}
    assert learned == offsets  # all of it was saved, though no checkpoint was due


@pytest.mark.parametrize("seconds", [pytest.param("20", marks=pytest.mark.nightly), "1.5"])
def test_while_redis_hangs_it_ends_in_time_and_says_what_is_not_saved(
    mock_cluster: MockCluster, redis_server: Callable[..., RedisServer], seconds: str
) -> None:
    server = redis_server()
    with FaultProxy(server.address) as proxy, closing(server.client()) as client, load(mock_cluster.bootstrap):
        more = {"SKIM_SHUTDOWN__SECONDS": seconds, "SKIM_REDIS__TIMEOUT": "0.5" if seconds == "20" else "5"}
        with worker(mock_cluster.bootstrap, server.url_through(proxy.address), **more) as process:
            wait_for(under_way(client), "events are scored")
            proxy.half_open()
            took, out, errors = told_to_stop(process)
        offsets = read_offsets(client, STREAM)
    assert process.returncode == 1
    assert "nothing is lost" in errors
    if seconds == "20":
        assert took < 10
        assert 0 <= sum(offsets.values()) - json.loads(out.splitlines()[-1])["consumed"] <= 500  # the batch in hand
        assert "skim: stopped, but not saved: events/0" in errors
    else:
        assert took < 5
        assert "skim: still not done 1.5 s after it was told to stop; not saved: events/0" in errors


@pytest.mark.nightly
def test_while_brokers_hang_it_ends_in_time(store: redis.Redis, store_url: str) -> None:
    with MockCluster(1) as cluster, FaultProxy(cluster.bootstrap) as proxy:
        cluster.advertise(1, proxy.address)
        with (
            load(proxy.address),
            worker(proxy.address, store_url, SKIM_SHUTDOWN__SECONDS="3") as process,
        ):
            wait_for(under_way(store), "events are scored")
            proxy.half_open()
            took, _, errors = told_to_stop(process)
    assert took < 6
    assert process.returncode == 1
    assert "its partitions are saved; it may not have left the group" in errors


def test_the_page_says_goodbye_to_those_who_follow_it(store: redis.Redis, store_url: str) -> None:
    store.hset("skim:{ztf}:offsets", "t/0", 3)
    with skim("serve", "--redis", store_url, "--port", "0") as process:
        address = str(process.args).split("the page is ")[1].split(",")[0]
        with httpx.stream("GET", f"{address}/api/v1/stream?stream=ztf") as follower:
            assert follower.status_code == 200
            took, _, errors = told_to_stop(process)
    assert process.returncode == 0, errors
    assert took < 5
