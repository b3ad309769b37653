"""A worker that ends at a bound: exactly there, whatever the batches, and with what it learned saved."""

import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from typer.testing import CliRunner

from brokers.kafka import Kafka
from brokers.mock import MockCluster
from skimstream.cli.backfill import Backfill
from skimstream.cli.main import app
from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets
from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.place import Moment, Offsets, Until, until_of
from skimstream.consumer.until import Bounded
from stage.listed import Recorder, learned, recorder, sessions

MINUTE = 60_000
# An hour ago: Kafka deletes what is older than a week. Milliseconds since 1970.
BEGAN = round(time.time() - 3_600) * 1_000
EVENTS = sessions(60)
SIZES = [7, *(pytest.param(size, marks=pytest.mark.nightly) for size in (1, 100))]


def send(servers: str, events: list[bytes], minutes: list[int] | None = None, partition: int = 0) -> None:
    """Each so many minutes after the first possible one."""
    producer = Producer({"bootstrap.servers": servers, "log_level": 0, "enable.idempotence": True})
    for i, event in enumerate(events):
        at = BEGAN + MINUTE * (minutes[i] if minutes else i)
        producer.produce("t", event, partition=partition, timestamp=at)
    assert producer.flush(20) == 0


def moment(minute: float) -> Moment:
    return Moment(BEGAN + round(MINUTE * minute))


class Timed(Bounded):
    """Knows nothing by time: librdkafka's mock cluster doesn't, either."""

    def at(self, address: Address, moment: Moment) -> int | None:
        return None


def run(
    worker: Recorder,
    servers: str,
    until: Until,
    size: int = 100,
    clock: Callable[[], float] = time.time,
    make: type[Bounded] = Bounded,
    group: str = "",
) -> None:
    """Until the source is through; 30 s are far too many."""
    group = group or f"g{time.monotonic_ns()}"  # the mock cluster takes its time to forget who has left
    options = {"bootstrap.servers": servers, "group.id": group, "log_level": 0, "fetch.wait.max.ms": 20}
    deadline = time.monotonic() + 30
    with make("t", options, "earliest", worker.dropped, True, until, time_of_day=clock) as source:
        worker.run(source, lambda: source.through or time.monotonic() > deadline, size, 0.05)
        assert source.through, (source.positions, source.bounds)


def offsets_of(worker: Recorder, partition: int = 0) -> list[int]:
    """Of the events that were scored, each once and in order."""
    found = [offset for number, offset, _ in worker.emitted if number == partition]
    assert all(one < other for one, other in pairwise(found))
    return found


@pytest.mark.parametrize("size", SIZES)
def test_batches_end_exactly_at_the_bound(size: int, mock_cluster: MockCluster, store: redis.Redis) -> None:
    mock_cluster.create_topic("t", 2)
    send(mock_cluster.bootstrap, EVENTS[:50])
    send(mock_cluster.bootstrap, EVENTS[50:], partition=1)
    first, second = (Offsets(Path("f"), {"t/0": at, "t/9": 1}) for at in (20, 41))
    worker = recorder(store)
    run(worker, mock_cluster.bootstrap, first, size)
    assert offsets_of(worker) == list(range(20))
    assert offsets_of(worker, 1) == []  # the file doesn't have it
    assert read_offsets(store, "behaviour") == {"t/0": 20, "t/1": 0}
    assert not worker.unsaved
    saved: Any = store.hget("skim:{behaviour}:checkpoints", "t/0")
    assert saved.startswith(b"20:")
    again = recorder(store)
    run(again, mock_cluster.bootstrap, second, size)
    assert (again.relearned, offsets_of(again)) == (0, list(range(20, 41)))
    whole, other = learned(store, "behaviour"), recorder(store, "undisturbed")
    run(other, mock_cluster.bootstrap, second)
    assert other.emitted == worker.emitted + again.emitted
    assert {name: one for name, one in learned(store, "undisturbed").items() if name.startswith("top")} == {
        name: one for name, one in whole.items() if name.startswith("top")
    }
    late = recorder(store)
    run(late, mock_cluster.bootstrap, first, size)  # long past it: there is nothing to do
    assert late.emitted == []
    assert read_offsets(store, "behaviour")["t/0"] == 41


@pytest.mark.nightly
def test_now_is_what_the_topic_has_at_the_start(mock_cluster: MockCluster, store: redis.Redis) -> None:
    mock_cluster.create_topic("t", 2)
    send(mock_cluster.bootstrap, EVENTS[:30])

    def more_comes(point: str) -> None:
        if point == "prepared":
            send(mock_cluster.bootstrap, EVENTS[30:40])
            send(mock_cluster.bootstrap, EVENTS[40:], partition=1)

    worker = recorder(store, reached=more_comes)
    run(worker, mock_cluster.bootstrap, "now", size=10)
    assert offsets_of(worker) == list(range(30))
    assert read_offsets(store, "behaviour") == {"t/0": 30, "t/1": 0}


@pytest.mark.nightly
def test_two_workers_share_what_there_is_and_both_end(mock_cluster: MockCluster, store: redis.Redis) -> None:
    """Who is through first hands its partitions over; nothing is read twice, and nothing beyond the bounds."""
    mock_cluster.create_topic("t", 4)
    events, ends = sessions(1_200), {f"t/{number}": 250 for number in range(4)}
    for number in range(4):
        send(mock_cluster.bootstrap, events[300 * number :][:300], [0] * 300, partition=number)
    workers = [recorder(store) for _ in range(2)]
    threads = [
        threading.Thread(
            target=run, args=(one, mock_cluster.bootstrap, Offsets(Path("f"), ends), 10, time.time, Bounded, "both")
        )
        for one in workers
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(90)
        assert not one.is_alive()
    emitted = sorted((number, offset) for worker in workers for number, offset, _ in worker.emitted)
    assert emitted == [(number, offset) for number in range(4) for offset in range(250)]
    assert read_offsets(store, "behaviour") == ends
    assert all(worker.emitted for worker in workers)


@pytest.mark.parametrize("size", SIZES)
def test_a_time_to_come_is_found_as_the_messages_arrive(
    size: int, mock_cluster: MockCluster, store: redis.Redis
) -> None:
    """The first message that late counts, even if earlier ones follow; a partition without any ends by the clock."""
    mock_cluster.create_topic("t", 2)
    send(mock_cluster.bootstrap, EVENTS[:30], [*range(18), 25, 3, *range(20, 30)])
    send(mock_cluster.bootstrap, EVENTS[30:35], [1, 2, 3, 4, 5], partition=1)
    worker, now = recorder(store), [moment(10).milliseconds / 1000]
    timer = threading.Timer(1.5, lambda: now.append(moment(21).milliseconds / 1000))
    timer.start()
    run(worker, mock_cluster.bootstrap, moment(20), size, lambda: now[-1], Timed)
    assert not timer.is_alive()
    assert offsets_of(worker) == list(range(18))
    assert offsets_of(worker, 1) == list(range(5))
    assert read_offsets(store, "behaviour") == {"t/0": 18, "t/1": 5}


def test_the_last_batch_is_committed_though_redis_pauses(
    mock_cluster: MockCluster, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To have given out the last batch is not to be through."""
    mock_cluster.create_topic("t", 1)
    send(mock_cluster.bootstrap, EVENTS[:20])
    worker, commit = recorder(store), Recorder._commit  # noqa: SLF001 - as the worker itself
    failures = iter([redis.ConnectionError("away"), redis.ConnectionError("away")])

    def failing(*arguments: Any) -> int:
        for failure in failures:
            raise failure
        return commit(worker, *arguments)

    monkeypatch.setattr(worker, "_commit", failing)
    run(worker, mock_cluster.bootstrap, "now")
    assert read_offsets(store, "behaviour") == {"t/0": 20}


@pytest.mark.nightly
def test_kafka_ends_at_a_time(kafka: Kafka, store: redis.Redis) -> None:
    kafka.create_topic("t", 1)
    send(kafka.bootstrap, EVENTS[:30], [*range(18), 25, 3, *range(20, 30)])
    worker = recorder(store)
    run(worker, kafka.bootstrap, moment(20))
    assert offsets_of(worker) == list(range(18))


def test_the_command_ends_by_itself(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    mock_cluster.create_topic("t", 2)
    mock_cluster.create_topic("t.dlq", 1)
    send(mock_cluster.bootstrap, EVENTS)
    arguments = ["--topic", "t", "--kafka", mock_cluster.bootstrap, "--redis", store_url, "--metrics-port", "0"]
    ran = CliRunner().invoke(app, ["run", "behaviour", *arguments, "--until", "now"])
    assert ran.exit_code == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["consumed"] == 60
    assert "read until now, and saved" in ran.stderr
    assert read_offsets(store, "behaviour") == {"t/0": 60, "t/1": 0}


def test_ends_that_are_none_are_refused() -> None:
    for wrong, problem in (("latest", "is no end: now, a time"), ("tomorrow", "is none of these")):
        with pytest.raises(ConfigError, match=problem):
            load_settings(None, {"kafka": {"until": wrong}})
    with pytest.raises(ConfigError, match="not for rekey"):
        load_settings(None, {"kafka": {"until": "now"}, "rekey": True})
    assert until_of("2001-09-09T01:46:40Z") == Moment(1_000_000_000_000)


def test_progress_says_how_far_and_then_that_it_is_live() -> None:
    heart, now, said = SimpleNamespace(consumed=0, relearned=0, lag=0, partitions=0), [0.0], list[str]()
    workers: list[Any] = [SimpleNamespace(heartbeat=heart)]
    backfill = Backfill(workers, ends=False, wanted=False, say=said.append, clock=lambda: now[0])
    assert backfill.look() is None
    heart.partitions, heart.lag = 2, 30_000
    backfill.look()
    now[0], heart.consumed, heart.lag = 10.0, 20_000, 10_000
    assert backfill.look() == (20_000, 10_000)
    backfill.look()
    heart.consumed, heart.lag = 30_000, 0
    for _ in range(5):
        backfill.look()
    assert said == [
        "20,000 messages done, 10,000 left, 2,000 a second: through at 00:00:15 UTC (0:00:05)",
        "live: 30,000 messages done, none left",
    ]
