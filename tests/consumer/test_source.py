"""The source on real brokers: who gets what, who keeps what, and what is said when records are gone."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from brokers.kafka import Kafka
from brokers.mock import Api, MockCluster
from brokers.tansu import Tansu
from skimstream.consumer.address import Address
from skimstream.consumer.patience import Unavailable
from skimstream.consumer.source import Source

PARTITIONS = 4
QUICK = {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50}
CLASSIC = {**QUICK, "group.protocol": "classic"}
KIP_848 = {"group.protocol": "consumer", "fetch.wait.max.ms": 50}


class Reader:
    """A source that opens what it is given at the beginning or where it was, and notes what it reads."""

    def __init__(self, bootstrap: str, topic: str, options: Mapping[str, Any], places: dict[Address, int]) -> None:
        self.places = places  # shared: where each partition goes on
        self.read: list[tuple[int, int]] = []
        self.gone: list[tuple[Address, bool]] = []
        given = {"bootstrap.servers": bootstrap, "group.id": topic, "log_level": 0, **options}
        self.source = Source(topic, given, "earliest", lambda address, lost: self.gone.append((address, lost)))

    def turn(self, seconds: float = 0.1, size: int = 100) -> None:
        for address in sorted(self.source.waiting):
            self.source.open(address, self.places.get(address, 0))
        for batch in self.source.batches(size, seconds):
            assert batch.first == batch.offsets[0] == self.places.get(batch.address, 0)
            self.places[batch.address] = batch.following
            self.read += [(batch.address.number, offset) for offset in batch.offsets]

    @property
    def held(self) -> set[Address]:
        return set(self.source.positions)


@contextmanager
def readers(bootstrap: str, topic: str, *options: Mapping[str, Any]) -> Iterator[list[Reader]]:
    places: dict[Address, int] = {}
    with ExitStack() as stack:
        made = [Reader(bootstrap, topic, one, places) for one in options]
        for one in made:
            stack.enter_context(one.source)
        yield made


def turn_until(condition: Callable[[], bool], *all_readers: Reader, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, [one.held for one in all_readers]
        for one in all_readers:
            one.turn()


def topic_on(kafka: Kafka | Tansu, name: str) -> str:
    topic = f"{name}-{time.monotonic_ns()}"
    kafka.create_topic(topic, PARTITIONS)
    return topic


def send(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})
    for i in range(count):
        producer.produce(topic, b"%d" % i, partition=i % PARTITIONS)
    assert producer.flush(30) == 0


def all_of(count: int) -> list[tuple[int, int]]:
    return sorted((i % PARTITIONS, i // PARTITIONS) for i in range(count))


@pytest.mark.parametrize("options", [CLASSIC, KIP_848], ids=["cooperative-sticky", "KIP-848"])
def test_two_share_and_one_takes_over_without_loss_or_repetition(options: Mapping[str, Any], kafka: Kafka) -> None:
    topic = topic_on(kafka, "shared")
    send(kafka.bootstrap, topic, 400)
    with readers(kafka.bootstrap, topic, options) as (one,):
        turn_until(lambda: len(one.read) == 400, one)
        with readers(kafka.bootstrap, topic, options) as (other,):
            other.places = one.places
            turn_until(lambda: len(one.held) == len(other.held) == 2, one, other)
            assert {address for address, lost in one.gone if not lost} == other.held
            send(kafka.bootstrap, topic, 400)
            turn_until(lambda: len(one.read) + len(other.read) == 800, one, other)
        turn_until(lambda: len(one.held) == 4, one)
        send(kafka.bootstrap, topic, 400)
        turn_until(lambda: len(one.read) + len(other.read) == 1_200, one)
        assert sorted(one.read + other.read) == all_of(1_200)


@pytest.mark.parametrize("options", [CLASSIC, KIP_848], ids=["classic", "KIP-848"])
def test_a_static_member_that_restarts_moves_nothing(options: Mapping[str, Any], kafka: Kafka) -> None:
    topic = topic_on(kafka, "static")
    a, b = ({**options, "group.instance.id": f"{topic}-{name}"} for name in "ab")
    with readers(kafka.bootstrap, topic, a, b) as (one, two):
        turn_until(lambda: len(one.held) == len(two.held) == 2, one, two)
        before, changes = two.held, len(two.gone)
        one.source.consumer.close()
        with readers(kafka.bootstrap, topic, a) as (again,):
            turn_until(lambda: len(again.held) == 2, again, two)
            assert again.held == {Address(topic, number) for number in range(4)} - before
            assert (two.held, len(two.gone)) == (before, changes)


def test_idling_longer_than_the_poll_interval_keeps_its_place(kafka: Kafka) -> None:
    topic = topic_on(kafka, "idle")
    options = {**CLASSIC, "max.poll.interval.ms": 6_000}
    with readers(kafka.bootstrap, topic, options) as (one,):
        turn_until(lambda: len(one.held) == 4, one)
        send(kafka.bootstrap, topic, 40)
        one.source.idle(9.0)
        assert (one.read, one.gone) == ([], [])
        one.source.go_on()
        turn_until(lambda: len(one.read) == 40, one)
        assert one.gone == []


def test_offsets_that_retention_removed_are_told_and_not_jumped_over(kafka: Kafka) -> None:
    topic = topic_on(kafka, "short")
    send(kafka.bootstrap, topic, 400)
    kafka.delete_records(topic, 2, 60)
    with readers(kafka.bootstrap, topic, CLASSIC) as (one,):
        cut = Address(topic, 2)
        turn_until(lambda: cut in one.source.astray and len(one.read) == 300, one)
        assert one.source.range(cut) == (60, 100)
        one.places[cut] = 60
        one.source.open(cut, 60)
        turn_until(lambda: len(one.read) == 340, one)
        assert one.source.astray == set()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_opened_idled_over_and_closed_nothing_is_skipped(seed: int, kafka: Kafka) -> None:
    topic, rng = topic_on(kafka, f"restless-{seed}"), random.Random(seed)
    send(kafka.bootstrap, topic, 800)
    with readers(kafka.bootstrap, topic, CLASSIC) as (one,):
        source = one.source
        turn_until(lambda: len(one.held) == 4, one)
        deadline = time.monotonic() + 60
        while len(one.read) < 800:
            assert time.monotonic() < deadline, one.places
            address = Address(topic, rng.randrange(PARTITIONS))
            if rng.random() < 0.3:
                source.idle(0.1 * rng.random())
                source.go_on()
            if rng.random() < 0.3 and address in source.positions:
                source.open(address, source.positions[address])
            if rng.random() < 0.2 and address in source.positions:
                source.close(address)
            one.turn(0.05, size=rng.choice([1, 20, 100]))
        assert sorted(one.read) == all_of(800)


def test_a_broker_that_restarts_is_waited_for(kafka: Kafka) -> None:
    topic = topic_on(kafka, "restart")
    send(kafka.bootstrap, topic, 40)
    with readers(kafka.bootstrap, topic, CLASSIC) as (one,):
        turn_until(lambda: len(one.read) == 40, one)
        kafka.kill()
        for _ in range(10):
            one.turn()
        kafka.start()
        send(kafka.bootstrap, topic, 40)
        turn_until(lambda: len(one.read) == 80, one)
        assert sorted(one.read) == all_of(80)


def test_lag_is_known_without_asking_and_kafka_hears_the_offsets(kafka: Kafka) -> None:
    topic = topic_on(kafka, "lag")
    send(kafka.bootstrap, topic, 40)
    with readers(kafka.bootstrap, topic, CLASSIC) as (one,):
        turn_until(lambda: len(one.read) == 40, one)
        assert one.source.lag() == dict.fromkeys((Address(topic, number) for number in range(4)), 0)
        one.source.commit(one.places)
        told = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
        asked = [TopicPartition(topic, number) for number in range(4)]
        deadline = time.monotonic() + 20
        while [one.offset for one in told.committed(asked, timeout=10)] != [10] * 4:
            assert time.monotonic() < deadline
        told.close()


ERRORS = {
    "leader moves": (Api.FETCH, KafkaError.NOT_LEADER_FOR_PARTITION),
    "coordinator loads": (Api.HEARTBEAT, KafkaError.COORDINATOR_LOAD_IN_PROGRESS),
    "no coordinator": (Api.HEARTBEAT, KafkaError.NOT_COORDINATOR),
    "slow": (Api.FETCH, KafkaError.REQUEST_TIMED_OUT),
    "commit refused": (Api.OFFSET_COMMIT, KafkaError.REBALANCE_IN_PROGRESS),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_brokers_passing_errors_cost_nothing(error: tuple[Api, int], mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("t", PARTITIONS)
    send(mock_cluster.bootstrap, "t", 40)
    with readers(mock_cluster.bootstrap, "t", CLASSIC) as (one,):
        turn_until(lambda: len(one.read) == 40, one)
        mock_cluster.push_errors(error[0], *[error[1]] * 3)
        one.source.commit(one.places)
        send(mock_cluster.bootstrap, "t", 40)
        turn_until(lambda: len(one.read) == 80, one)
        assert sorted(one.read) == all_of(80)


def test_brokers_that_go_and_come_are_waited_for(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("t", PARTITIONS)
    send(mock_cluster.bootstrap, "t", 40)
    with readers(mock_cluster.bootstrap, "t", {**CLASSIC, "socket.timeout.ms": 1_000}) as (one,):
        turn_until(lambda: len(one.read) == 40, one)
        mock_cluster.broker_down(*mock_cluster.brokers)
        for _ in range(5):
            one.turn()
        mock_cluster.broker_up(*mock_cluster.brokers)
        mock_cluster.round_trip(0.2)
        send(mock_cluster.bootstrap, "t", 40)
        turn_until(lambda: len(one.read) == 80, one)
        assert sorted(one.read) == all_of(80)


def test_no_broker_is_a_wait_and_not_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skimstream.consumer.source.WATERMARK_SECONDS", 0.5)
    reader = Reader("127.0.0.1:1", "t", CLASSIC, {})
    with reader.source:
        assert "no broker answers" in (reader.source.problem() or "")
        with pytest.raises(Unavailable):
            reader.source.range(Address("t", 0))


def test_tansu_serves_groups_too(tansu: Tansu) -> None:
    topic = topic_on(tansu, "tansu")
    send(tansu.bootstrap, topic, 200)
    with readers(tansu.bootstrap, topic, CLASSIC) as (one,):
        turn_until(lambda: len(one.read) == 200, one)
        assert sorted(one.read) == all_of(200)
