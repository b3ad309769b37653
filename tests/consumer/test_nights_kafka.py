"""A topic a night on a real Kafka, by both protocols of groups: two readers, and midnight."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from confluent_kafka import Producer

from brokers.kafka import Kafka
from skimstream.consumer.address import Address
from skimstream.consumer.source import Source
from skimstream.consumer.topics import Nightly

PARTITIONS = 4
QUICK = {"fetch.wait.max.ms": 50, "topic.metadata.refresh.interval.ms": 300, "log_level": 0}
CLASSIC = {**QUICK, "group.protocol": "classic", "session.timeout.ms": 6_000, "heartbeat.interval.ms": 300}
KIP_848 = {**QUICK, "group.protocol": "consumer"}


@pytest.mark.parametrize(
    "options", [CLASSIC, pytest.param(KIP_848, marks=pytest.mark.nightly)], ids=["cooperative-sticky", "KIP-848"]
)
def test_two_readers_go_through_midnight(options: Mapping[str, Any], kafka: Kafka) -> None:
    some, now = f"n{time.monotonic_ns()}", [1_795_176_000.0]  # 2026-11-20T12:00Z
    topics = Nightly(f"{some}_{{date:%Y%m%d}}", 2, clock=lambda: now[0])
    names = [f"{some}_{day}" for day in (20261119, 20261120, 20261121)]
    sent, read = list[tuple[Address, int]](), list[tuple[Address, int]]()
    places: dict[Address, int] = {}  # shared, as the board is
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0})

    def send(topic: str, count: int) -> None:
        for i in range(count):
            address = Address(topic, i % PARTITIONS)
            sent.append((address, sum(one == address for one, _ in sent)))
            producer.produce(topic, b"x", partition=address.number)
        assert producer.flush(30) == 0

    def turn(source: Source) -> None:
        for address in source.due():
            source.open(address, places.get(address, 0))
        for batch in source.batches(50, 0.05):
            assert batch.first == places.get(batch.address, 0)
            places[batch.address] = batch.following
            read.extend((batch.address, offset) for offset in batch.offsets)

    def turn_until(done: Any, sources: list[Source]) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, [(one.names, one.positions, one.waiting) for one in sources]
            for one in sources:
                turn(one)

    for topic in names[:2]:
        kafka.create_topic(topic, PARTITIONS)
        send(topic, 80)
    given = {"bootstrap.servers": kafka.bootstrap, "group.id": some, **options}
    with ExitStack() as stack:
        both = [stack.enter_context(Source(topics, given, "earliest", lambda address, lost: None)) for _ in range(2)]
        turn_until(lambda: len(read) == 160 and all(one.positions for one in both), both)
        now[0] += 86_400
        send(names[1], 40)  # late ones
        kafka.create_topic(names[2], PARTITIONS)
        send(names[2], 80)
        turn_until(lambda: len(read) == 280, both)
        turn_until(lambda: {one.topic for source in both for one in source.positions} == set(names[1:]), both)
    assert sorted(read) == sorted(sent)


def test_the_latest_is_what_comes_from_now_on_in_nights_to_come_too(kafka: Kafka) -> None:
    some, now = f"l{time.monotonic_ns()}", [time.time()]
    topics = Nightly(f"{some}_{{date:%Y%m%d}}", 1, clock=lambda: now[0])
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    given = {"bootstrap.servers": kafka.bootstrap, "group.id": some, **CLASSIC}
    kafka.create_topic(topics.now()[0], 1)
    producer.produce(topics.now()[0], b"old", partition=0, timestamp=round(1_000 * now[0]) - 60_000)
    assert producer.flush(30) == 0
    found = list[bytes | None]()
    with Source(topics, given, "latest", lambda address, lost: None) as source:

        def turn_until(done: Any) -> None:
            deadline = time.monotonic() + 60
            while not done():
                assert time.monotonic() < deadline, (source.names, found)
                for address in source.due():
                    source.open(address, source.beginning(address, *source.range(address)))
                for batch in source.batches(50, 0.05):
                    found.extend(batch.values)

        turn_until(lambda: source.positions)
        now[0] += 86_400
        kafka.create_topic(topics.now()[0], 1)
        producer.produce(topics.now()[0], b"new", partition=0)  # before anybody has noticed the topic
        assert producer.flush(30) == 0
        turn_until(lambda: found)
    assert found == [b"new"]
