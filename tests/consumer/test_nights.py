"""A topic a night, with a clock that moves: rollover, nights without a topic, late ones, dead ones, two workers."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from threading import Thread

import pytest
import redis
from confluent_kafka import Producer

from brokers.mock import MockCluster
from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets
from skimstream.consumer.source import LEFT_ALONE_SECONDS, Source
from skimstream.consumer.topics import Nightly
from stage.listed import Letters, Listed, Recorder, Topic, learned, recorder, sessions

TEMPLATE = "alerts_{date:%Y%m%d}"
FIRST, SECOND, THIRD = "alerts_20261119", "alerts_20261120", "alerts_20261121"
SECOND_NOON = 1_795_176_000.0  # 2026-11-20T12:00Z
DAY = 86_400.0
PARTITIONS = 2
EVENTS = sessions(120)


class Sky:
    """A mock cluster with a clock of its own; remembers what was sent."""

    def __init__(self, cluster: MockCluster) -> None:
        self.cluster = cluster
        self.now = SECOND_NOON
        self.sent: dict[str, Topic] = {}
        self.producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0})

    def night(self, topic: str) -> None:
        """A topic appears."""
        self.cluster.create_topic(topic, PARTITIONS)
        self.sent[topic] = Topic({number: [] for number in range(PARTITIONS)})

    def send(self, topic: str, events: Sequence[bytes]) -> None:
        for i, event in enumerate(events):
            self.sent[topic].partitions[i % PARTITIONS].append(event)
            self.producer.produce(topic, event, partition=i % PARTITIONS)
        assert self.producer.flush(20) == 0

    @property
    def offsets(self) -> dict[str, int]:
        """What a board should come to."""
        return {Address(t, number).name: end for t, topic in self.sent.items() for number, end in topic.ends.items()}

    @contextmanager
    def source(self, worker: Recorder, clock: Callable[[], float] = time.monotonic) -> Iterator[Source]:
        options = {
            "bootstrap.servers": self.cluster.bootstrap,
            "group.id": f"g{id(self)}",
            "log_level": 0,
            "fetch.wait.max.ms": 20,
            "topic.metadata.refresh.interval.ms": 200,
            "session.timeout.ms": 1_500,  # so long the mock cluster waits for those who might join
            "heartbeat.interval.ms": 200,
        }
        topics = Nightly(TEMPLATE, 2, clock=lambda: self.now)
        with Source(topics, options, "earliest", worker.dropped, clock=clock) as source:
            yield source

    def undisturbed(self, store: redis.Redis) -> Recorder:
        """A board `reference` made of each topic by itself."""
        worker = recorder(store, "reference")
        for name, topic in sorted(self.sent.items()):
            source = Listed(topic, repeat(500))
            source.topic = name
            worker.run(source, lambda: source.done)  # noqa: B023 - done before the next
            for number in topic.partitions:
                worker.dropped(source.address(number), lost=False)
        return worker

    def assert_as_undisturbed(self, store: redis.Redis) -> None:
        self.undisturbed(store)
        found, wanted = learned(store, "behaviour"), learned(store, "reference")
        found.pop("inflight", None)
        assert found == wanted


@pytest.fixture
def sky(mock_cluster: MockCluster) -> Sky:
    return Sky(mock_cluster)


def read_until(worker: Recorder, source: Source, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    worker.run(source, lambda: condition() or time.monotonic() > deadline, 500, 0.05)
    assert condition(), (source.names, source.positions, source.waiting)


def test_nights_roll_over_and_a_late_one_is_found(sky: Sky, store: redis.Redis) -> None:
    worker = recorder(store)
    for topic in (FIRST, SECOND):
        sky.night(topic)
        sky.send(topic, EVENTS[:40])
    with sky.source(worker) as source:
        assert source.names == (SECOND, FIRST)
        read_until(worker, source, lambda: read_offsets(store, "behaviour") == sky.offsets)
        sky.now += DAY  # tonight's topic isn't there yet: nothing to read, and no error
        read_until(worker, source, lambda: {one.topic for one in source.positions} == {SECOND})
        assert source.names == (THIRD, SECOND)
        assert {one.topic for one in worker.partitions} == {SECOND}
        sky.send(SECOND, EVENTS[40:60])  # the last night's late ones are read on
        read_until(worker, source, lambda: read_offsets(store, "behaviour") == sky.offsets)
        sky.night(THIRD)
        sky.send(THIRD, EVENTS[60:])
        read_until(worker, source, lambda: read_offsets(store, "behaviour") == sky.offsets)
        assert source.problem() is None
        assert set(source.lag().values()) == {0}
    assert worker.tally.consumed == worker.tally.scored == 160
    sky.assert_as_undisturbed(store)


def test_no_topic_at_all_is_told_and_waited_for(sky: Sky, store: redis.Redis) -> None:
    worker = recorder(store)
    with sky.source(worker) as source:
        assert source.problem() == f"topic {FIRST} or {SECOND} is not there yet"
        read_until(worker, source, lambda: worker.heartbeat.partitions == 0)
        sky.night(SECOND)
        sky.send(SECOND, EVENTS[:10])
        read_until(worker, source, lambda: read_offsets(store, "behaviour") == sky.offsets)


def test_a_dead_topic_in_the_window_holds_up_nobody(sky: Sky, store: redis.Redis) -> None:
    now = [0.0]
    worker = recorder(store)
    for topic in (FIRST, SECOND):
        sky.night(topic)
        sky.send(topic, EVENTS[:20])
    for number in range(PARTITIONS):
        sky.cluster.set_leader(FIRST, number, None)
    live = {name: end for name, end in sky.offsets.items() if name.startswith(SECOND)}
    with sky.source(worker, lambda: now[0]) as source:
        read_until(worker, source, lambda: read_offsets(store, "behaviour") == live)
        read_until(worker, source, lambda: FIRST in source.alone)
        asked = source.alone[FIRST]
        assert asked == (LEFT_ALONE_SECONDS, LEFT_ALONE_SECONDS)
        sky.send(SECOND, EVENTS[20:60])
        live = {name: end for name, end in sky.offsets.items() if name.startswith(SECOND)}
        read_until(worker, source, lambda: read_offsets(store, "behaviour") == live)
        assert source.alone[FIRST] == asked  # nobody has asked it again meanwhile
        for number in range(PARTITIONS):
            sky.cluster.set_leader(FIRST, number, 1)

        def all_is_read() -> bool:
            now[0] += 1.0  # the client itself asks for leaders every so often
            return read_offsets(store, "behaviour") == sky.offsets

        read_until(worker, source, all_is_read)
        assert source.alone == {}
    sky.assert_as_undisturbed(store)


def test_two_workers_share_each_night(sky: Sky, store: redis.Redis) -> None:
    workers = [recorder(store), recorder(store)]
    for topic in (FIRST, SECOND):
        sky.night(topic)
        sky.send(topic, EVENTS[:40])
    over: list[bool] = []

    def work(worker: Recorder) -> None:
        with sky.source(worker) as source:
            worker.run(source, lambda: bool(over), 50, 0.02)

    threads = [Thread(target=work, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        until(lambda: read_offsets(store, "behaviour") == sky.offsets)
        until(lambda: all(worker.partitions for worker in workers))
        sky.now += DAY
        sky.send(SECOND, EVENTS[40:60])
        sky.night(THIRD)
        sky.send(THIRD, EVENTS[60:])
        until(lambda: read_offsets(store, "behaviour") == sky.offsets)
        until(lambda: {one.topic for worker in workers for one in worker.partitions} == {SECOND, THIRD})
    finally:
        over.append(True)
        for thread in threads:
            thread.join()
    assert sum(worker.tally.consumed for worker in workers) == 160
    sky.assert_as_undisturbed(store)


def test_all_nights_have_their_dead_letters_in_one_topic(sky: Sky, store: redis.Redis) -> None:
    worker = recorder(store, box=Nightly(TEMPLATE, 2).name)
    for topic in (FIRST, SECOND):
        sky.night(topic)
        sky.send(topic, [b"\xff" * 7])
    with sky.source(worker) as source:
        read_until(worker, source, lambda: worker.tally.consumed == 2)
    assert isinstance(worker.letters, Letters)
    assert {one.topic for one in worker.letters.parcels} == {"alerts_nightly.dlq"}
    assert {one.place.topic for one in worker.letters.parcels} == {FIRST, SECOND}


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
