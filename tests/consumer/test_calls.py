"""No Python by the event: how many calls the interpreter makes between `consume()` and the commit, counted.

What loops in C call isn't seen by the interpreter, and costs accordingly; librdkafka's accessors, which run in such
loops, are counted all the same.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from types import FrameType
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Message, Producer
from prometheus_client import CollectorRegistry

from brokers.mock import MockCluster
from skimstream.consumer import source as source_module
from skimstream.consumer.address import Address
from skimstream.consumer.board import Board, key
from skimstream.consumer.checkpoint import Checkpoints, Saved
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.source import Source
from skimstream.consumer.streams.base import night_name
from skimstream.consumer.streams.registry import stream_of
from skimstream.consumer.worker import Worker
from skimstream.producer.encode import container
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.schemas.decode import Decoder
from stage.listed import Letters, model_of, sessions

NIGHT = 20_778  # 2026-11-21
TOPIC, KEPT = "t", 1_000
WARM = 1_000  # events before anything is counted: the online parts speak, entities are known


class Path:
    """A worker on a topic of one partition: events are sent, and it takes them in batches of a size."""

    def __init__(self, bootstrap: str, stream: str, store: redis.Redis, stack: ExitStack) -> None:
        kind = stream_of(stream)
        metrics = Metrics(CollectorRegistry(), stream, kind.unscored_reasons)
        decoder = Decoder(kind.wanted, kind.framing, kind.schema())
        self.worker = Worker(kind, model_of(stream), Board(store, stream, KEPT), Letters(), metrics, decoder)
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0})
        # An end of the partition would come in a message's place.
        quick = {"fetch.wait.max.ms": 10, "enable.partition.eof": False, "log_level": 0}
        options = {"bootstrap.servers": bootstrap, "group.id": "g", **quick}
        self.source = stack.enter_context(Source(TOPIC, options, "earliest", self.worker.dropped))
        while not self.source.waiting:
            self.source.batches(1, 0.05)
        self.worker.open(self.source, Address(TOPIC, 0))

    def calls(self, messages: list[bytes]) -> float:
        """Calls an event that one batch of them takes."""
        for message in messages:
            self.producer.produce(TOPIC, message, partition=0)
        assert self.producer.flush(10) == 0
        counter = Counter()
        with counter.counting():
            batches = self.source.batches(len(messages), 10.0)
            for batch in batches:
                self.worker.take(batch)
        assert [len(batch.values) for batch in batches] == [len(messages)]
        return counter.calls / len(messages)


class Counter:
    """Counts calls of functions, of Python's and of C's, but for those that this file makes for its own sake."""

    def __init__(self) -> None:
        self.calls = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """In this thread."""
        before = sys.getprofile()
        sys.setprofile(self._see)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _see(self, frame: FrameType, event: str, function: Any) -> None:
        if event not in ("call", "c_call"):
            return
        ours = frame.f_code.co_filename == __file__
        self.calls += not ours or isinstance(getattr(function, "__self__", None), Message)


def seen(accessor: str) -> Callable[[Message], Any]:
    """An accessor that the interpreter calls, and so sees."""
    calls: dict[str, Callable[[Message], Any]] = {
        "error": lambda message: message.error(),
        "partition": lambda message: message.partition(),
        "offset": lambda message: message.offset(),
        "value": lambda message: message.value(),
        "timestamp": lambda message: message.timestamp(),
    }
    return calls[accessor]


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, store: redis.Redis) -> Iterator[Callable[[str], Path]]:
    for accessor in ("error", "partition", "offset", "value", "timestamp"):
        monkeypatch.setattr(source_module, f"_{accessor}", seen(accessor))
    with ExitStack() as stack:
        cluster = stack.enter_context(MockCluster())
        cluster.create_topic(TOPIC, 1)
        yield lambda stream: Path(cluster.bootstrap, stream, store, stack)


def fill(store: redis.Redis, worker: Worker, stream: str) -> None:
    """Lists as they are after a night's million events: full of events such as one in a thousand is."""
    for night in range(NIGHT - 1, NIGHT + 4):
        members = {f"o{i}": 0.999 for i in range(KEPT)}
        store.zadd(key(stream, "top", night_name(night)), members)
        store.hset(key(stream, "details", night_name(night)), mapping=dict.fromkeys(members, '{"event":"e"}'))
        worker.board.floors[night] = 0.999


def test_a_behavioural_event_takes_eight_calls_and_fewer_in_longer_batches(
    path: Callable[[str], Path], store: redis.Redis
) -> None:
    one, events = path("behaviour"), sessions(5_500, users=2_000)
    fill(store, one.worker, "behaviour")
    at, found = 0, {}
    for size, batches, counted in ((500, WARM // 500, False), (250, 2, True), (500, 2, True), (1_000, 3, True)):
        calls = []
        for _ in range(batches):
            calls.append(one.calls(events[at : at + size]))
            at += size
        if counted:
            found[size] = float(np.mean(calls))
    assert found[1_000] <= 8, found
    assert found[1_000] < found[500] < found[250], found
    # Beyond what a batch takes, however long it is, an event takes the five accessors and little more.
    by_batch = (found[250] - found[1_000]) / (1 / 250 - 1 / 1_000)
    assert found[1_000] - by_batch / 1_000 <= 6, found


def test_an_alert_takes_few_calls_beyond_its_batch(path: Callable[[str], Path], store: redis.Redis) -> None:
    alerts = [container(one.record, load("ztf_like")) for one in simulate_night(3, date(2026, 11, 21), 380, 0.02)]
    one = path("ztf")
    fill(store, one.worker, "ztf")
    one.calls(alerts[:80])
    few, many = one.calls(alerts[80:130]), one.calls(alerts[130:])
    assert many < few
    by_batch = (few - many) / (1 / 50 - 1 / 250)
    assert many - by_batch / 250 <= 8, (few, many)


def test_a_small_batch_that_changes_no_list_costs_no_explanations(
    path: Callable[[str], Path], store: redis.Redis
) -> None:
    one, events = path("behaviour"), sessions(WARM + 40, users=200)
    fill(store, one.worker, "behaviour")
    one.calls(events[:WARM])
    one.worker.board.floors = dict.fromkeys(one.worker.board.floors, 1.0)  # nobody gets there
    calls = [4 * one.calls(events[at : at + 4]) for at in range(WARM, WARM + 40, 4)]
    assert np.median(calls) <= 1_550, calls  # some are notable, and have a line


def test_entities_that_come_back_from_redis_take_no_calls_each(store: redis.Redis) -> None:
    dtype, found = np.dtype([("visits", np.int64), ("sum", np.float64)]), {}
    for count in (100, 1_000):
        checkpoints = Checkpoints(store, f"calls-{count}")
        keys = np.arange(1, count + 1).astype(np.uint64)
        rows = np.ones(count, dtype)
        fence = checkpoints.begin("t/0", 0, "m").fence
        fence = checkpoints.write(
            "t/0", fence, 0, Saved({}, "m", "l", ""), (keys, keys.astype(np.int64), rows), keys[:0]
        )
        checkpoints.recall("t/0", fence, keys, dtype)  # the script is there from here on
        counter = Counter()
        with counter.counting():
            back, seen, again = checkpoints.recall("t/0", fence, keys, dtype)
        assert (back == keys).all()
        assert (seen == keys.astype(np.int64)).all()
        assert (again == rows).all()
        found[count] = counter.calls
    # redis-py encodes each key of its own: two calls.
    assert (found[1_000] - found[100]) / 900 <= 2.1, found
