"""A worker's /live and /ready: what makes them say no, and that they are there beside /metrics."""

import json
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

from skimstream.cli.models import load_model
from skimstream.consumer.address import Address
from skimstream.consumer.config import load_settings
from skimstream.consumer.health import SILENT_SECONDS, Health
from skimstream.consumer.metrics import serve
from skimstream.consumer.run import run


class Partitions:
    """What a source holds."""

    def __init__(self) -> None:
        self.waiting, self.astray, self.positions = set[Address](), set[Address](), dict[Address, int]()


def test_a_loop_that_turns_lives() -> None:
    now = [0.0]
    health = Health(paused=lambda: True, clock=lambda: now[0])
    stopping = health.watching(lambda: False)
    for _ in range(3):
        now[0] += SILENT_SECONDS
        assert health.live()[0]
        assert stopping() is False
    now[0] += SILENT_SECONDS + 1
    assert health.live() == (False, {"live": False, "silent_seconds": SILENT_SECONDS + 1})
    assert health.watching(lambda: True)() is True
    assert health.live()[0]


def test_ready_once_every_partition_is_open() -> None:
    paused, source = [False], Partitions()
    health = Health(paused=lambda: paused[0], clock=lambda: 0.0)
    assert health.ready() == (
        False,
        {"ready": False, "reasons": ["the topic isn't subscribed yet"], "partitions": []},
    )
    health.source = source
    assert health.ready()[0]  # more workers than partitions: this one stands by
    zero, one, three = (Address("t", number) for number in (0, 1, 3))
    source.waiting, source.astray, source.positions = {three}, {one}, {zero: 7, one: 9}
    good, told = health.ready()
    assert not good
    assert told["reasons"] == ["partition t/1 is being opened", "partition t/3 is being opened"]
    source.waiting, source.astray, source.positions = set(), set(), {three: 1, zero: 7, one: 9}
    assert health.ready() == (True, {"ready": True, "reasons": [], "partitions": ["t/0", "t/1", "t/3"]})
    paused[0] = True
    good, told = health.ready()
    assert not good
    assert told["reasons"][0].startswith("paused: ")


def test_not_ready_when_stuck() -> None:
    now = [0.0]
    health = Health(paused=lambda: False, clock=lambda: now[0])
    health.source = Partitions()
    now[0] = SILENT_SECONDS + 1
    assert not health.ready()[0]


def asked(url: str) -> tuple[int, Any]:
    """Status and body."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 (of this machine)
            status, body = answer.status, answer.read()
    except HTTPError as refused:
        with refused:
            status, body = refused.code, refused.read()
    with suppress(json.JSONDecodeError):
        return status, json.loads(body)
    return status, body.decode()


def test_they_are_served_beside_the_metrics() -> None:
    registry = CollectorRegistry()
    Gauge("some_gauge", "…", registry=registry).set(1)
    now = [0.0]
    health = Health(paused=lambda: False, clock=lambda: now[0])
    server, _ = serve(registry, "127.0.0.1", 0)
    server.set_app(health.beside(make_wsgi_app(registry)))
    try:
        at = f"http://127.0.0.1:{server.server_port}"
        assert asked(f"{at}/live") == (200, {"live": True, "silent_seconds": 0.0})
        assert asked(f"{at}/ready")[0] == 503
        health.source = Partitions()
        assert asked(f"{at}/ready") == (200, {"ready": True, "reasons": [], "partitions": []})
        now[0] = SILENT_SECONDS * 2
        assert asked(f"{at}/live")[0] == 503
        status, text = asked(f"{at}/metrics")
        assert status == 200
        assert "some_gauge 1.0" in text
    finally:
        server.shutdown()
        server.server_close()


def test_a_running_worker_answers(broker: str, store_url: str) -> None:
    """On the mock cluster."""
    settings = load_settings(
        None,
        {
            "stream": "behaviour",
            "kafka": {"bootstrap": broker, "group": "health"},
            "redis": {"url": store_url},
            "metrics": {"port": 0},
        },
    )
    ports, answers = list[int](), list[tuple[int, Any]]()

    def stopping() -> bool:
        if ports:
            answers.extend(asked(f"http://127.0.0.1:{ports[0]}/{path}") for path in ("live", "ready"))
        return bool(answers)

    run(settings, load_model("behaviour", None), stopping, lambda port, _: ports.append(port))
    assert answers[0][0] == 200
    assert answers[0][1]["live"] is True
    assert answers[1] == (200, {"ready": True, "reasons": [], "partitions": []})
