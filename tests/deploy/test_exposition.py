"""What a worker and the page expose is clean by Prometheus' own rules, and hostile input adds no series."""

import itertools
import random
import re
import subprocess

import pytest
import redis
from prometheus_client import generate_latest

from brokers.server import Unavailable
from brokers.tools import tool
from skimstream.consumer.metrics import STAGES, Metrics
from skimstream.consumer.patience import KINDS
from skimstream.schemas.errors import REASONS
from skimstream.scoring.ensemble import PARTS
from skimstream.scoring.threshold import SEVERITIES
from stage.boarded import client_of
from stage.listed import Listed, Topic, recorder, sessions


def lint(exposition: bytes) -> str:
    """What `promtool check metrics` complains of."""
    try:
        command = [tool("promtool"), "check", "metrics"]
    except Unavailable as reason:
        pytest.skip(str(reason))
    return subprocess.run(command, input=exposition, capture_output=True, timeout=60).stderr.decode()


def series(exposition: bytes) -> set[str]:
    """Name and labels of every sample."""
    lines = exposition.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def hostile(seed: int, count: int) -> list[bytes | None]:
    """Events of users that nobody knows, events with broken bytes, noise, and nothing at all."""
    rng = random.Random(seed)
    messages: list[bytes | None] = []
    for good in sessions(count, users=count, seed=seed):
        broken = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        messages.append(rng.choice([good, bytes(broken), good[: rng.randrange(len(good))], rng.randbytes(40), None]))
    return messages


def closed(store: redis.Redis) -> tuple[Metrics, set[str]]:
    """The metrics of a worker after a hostile run, and all values that their labels may have."""
    worker = recorder(store)
    for seed in (1, 2):
        source = Listed(Topic({number: hostile(seed + number, 300) for number in range(3)}), itertools.repeat(100))
        worker.run(source, lambda source=source: source.done)  # type: ignore[misc]
        worker.report(source)
    stream, metrics = worker.stream, worker.metrics
    assert worker.tally.scored > 200
    assert sum(worker.tally.dead.values()) > 200
    known = {stream.name, *stream.features, *stream.unscored_reasons, *REASONS, *STAGES, *PARTS, *KINDS, *SEVERITIES}
    known |= {
        "0",
        "1",
        "2",
        Listed.topic,
        "warming",
        "combined",
        "ensemble",
        worker.chosen.model.id,
        worker.chosen.model.features_hash,
    }
    known |= {
        "begin",
        "recall",
        "commit",
        "checkpoint",
        "assigned",
        "revoked",
        "lost",
        "delivered",
        "failed",
        "down",
        "other",
    }
    return metrics, known


def test_a_hostile_run_leaves_a_workers_series_few_and_clean(store: redis.Redis) -> None:
    metrics, known = closed(store)
    exposition = generate_latest(metrics.registry)
    assert lint(exposition) == ""
    labels = [pair for one in series(exposition) for pair in re.findall(r'(\w+)="([^"]*)"', one)]
    versions = ("le", "version", "python", "librdkafka")
    assert {value for label, value in labels if label not in versions} <= known
    assert len(series(exposition)) < 500
    for name in (b"skim_consumer_lag_messages{", b"skim_frozen_shift{", b"skim_part_z_bucket{", b"skim_threshold{"):
        assert name in exposition


def test_hostile_requests_leave_the_servers_series_few_and_clean(store: redis.Redis) -> None:
    rng = random.Random(5)
    with client_of(store) as client:

        def ask(count: int) -> bytes:
            for _ in range(count):
                path = "/" + "/".join(
                    rng.choice(["api", "v1", "anomaly", "objects", rng.randbytes(4).hex()]) for _ in range(4)
                )
                client.request(rng.choice(["GET", "POST", "PUT", "BREW", rng.randbytes(3).hex().upper()]), path)
            return client.get("/metrics").content

        ask(100)
        first = ask(50)
        second = ask(150)
    assert lint(first) == ""
    assert series(second) == series(first)
    assert len(series(first)) < 200
