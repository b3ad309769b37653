"""The sender against librdkafka's mock cluster, and against nothing at all."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from skimstream.producer.send import DeliveryError, Sender, Undelivered
from skimstream.schemas.errors import SkimError


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused:1"})
    brokers = host.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    host.flush(1)


def read(servers: str, topic: str, count: int) -> list[tuple[bytes | None, bytes | None, object]]:
    """The first `count` messages of partition 0: (key, value, headers)."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [(m.key(), m.value(), m.headers()) for m in consumer.consume(count, timeout=10)]
    finally:
        consumer.close()


def test_delivers_key_value_headers_in_order(cluster: str) -> None:
    with Sender({"bootstrap.servers": cluster}) as sender:
        for i in range(50):
            sender.send("order", b"value %d" % i, key=f"key {i}", headers=[("n", b"%d" % i)], partition=0)
    assert (sender.delivered, sender.undelivered_total, sender.undelivered) == (50, 0, [])
    sender.check()
    assert read(cluster, "order", 50) == [(b"key %d" % i, b"value %d" % i, [("n", b"%d" % i)]) for i in range(50)]


def test_a_full_queue_is_waited_for(cluster: str) -> None:
    with Sender({"bootstrap.servers": cluster, "queue.buffering.max.messages": 10, "linger.ms": 50}) as sender:
        for i in range(300):
            sender.send("full", b"%d" % i, partition=0)
    assert sender.waits > 0  # else this test has not seen a full queue
    assert (sender.delivered, sender.undelivered_total) == (300, 0)
    assert [value for _, value, _ in read(cluster, "full", 300)] == [b"%d" % i for i in range(300)]


def test_undelivered_are_counted_and_named() -> None:
    with Sender({"bootstrap.servers": "127.0.0.1:9", "log_level": 0, "message.timeout.ms": 300}) as sender:
        sender.send("lost", b"1", key="a", partition=3)
        sender.send("lost", b"2", key="b")
    assert (sender.delivered, sender.undelivered_total) == (0, 2)
    assert {(u.topic, u.key, u.partition) for u in sender.undelivered} == {("lost", b"a", 3), ("lost", b"b", None)}
    assert all("timed out" in u.reason for u in sender.undelivered)
    with pytest.raises(DeliveryError, match="2 messages were not delivered") as caught:
        sender.check()
    assert caught.value.count == 2
    assert isinstance(caught.value, SkimError)


def test_leaving_early_names_what_was_in_flight() -> None:
    with Sender({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, flush_timeout=0.1) as sender:
        sender.send("lost", b"1", key="a")
    assert [(u.topic, u.key) for u in sender.undelivered] == [("lost", b"a")]


def test_a_queue_that_stays_full_raises_at_the_deadline() -> None:
    options = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0, "queue.buffering.max.messages": 2}
    with Sender(options, room_timeout=0.3, flush_timeout=0.1) as sender:
        sender.send("lost", b"1")
        sender.send("lost", b"2")
        with pytest.raises(DeliveryError, match="is the broker reachable"):
            sender.send("lost", b"3", key="c")
        assert sender.undelivered == [Undelivered("lost", "c", None, sender.undelivered[0].reason)]
    assert sender.undelivered_total == 3


def test_names_are_bounded_but_the_count_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "NAMED", 5)
    with Sender({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, flush_timeout=0.1) as sender:
        for i in range(20):
            sender.send("lost", b"%d" % i)
    assert (len(sender.undelivered), sender.undelivered_total) == (5, 20)


def test_a_message_too_large_is_refused_and_named(cluster: str) -> None:
    with Sender({"bootstrap.servers": cluster, "message.max.bytes": 2000}) as sender:
        with pytest.raises(DeliveryError, match="too large"):
            sender.send("big", bytes(10_000), key="k")
        sender.send("big", b"small")
    assert (sender.delivered, sender.undelivered_total) == (1, 1)


def test_pace_is_asked_until_it_agrees_and_then_not_again(cluster: str) -> None:
    asked: list[tuple[str, int | None, int]] = []
    answers = iter([False, False, True, True])

    def pace(topic: str, partition: int | None, size: int) -> bool:
        asked.append((topic, partition, size))
        return next(answers)

    with Sender({"bootstrap.servers": cluster}, pace=pace) as sender:
        sender.send("paced", b"12345", partition=0)
        sender.send("paced", b"1")
    assert asked == [("paced", 0, 5)] * 3 + [("paced", None, 1)]
    assert (sender.delivered, sender.waits) == (2, 1)


def test_pace_is_asked_once_even_if_the_queue_is_full(cluster: str) -> None:
    asked = 0

    def pace(topic: str, partition: int | None, size: int) -> bool:
        nonlocal asked
        asked += 1
        return True

    options = {"bootstrap.servers": cluster, "queue.buffering.max.messages": 2, "linger.ms": 50}
    with Sender(options, pace=pace) as sender:
        for i in range(10):
            sender.send("paced", b"%d" % i)
    assert sender.waits > 0
    assert asked == 10


def test_a_pace_that_never_agrees_raises_at_the_deadline(cluster: str) -> None:
    with (
        Sender({"bootstrap.servers": cluster}, pace=lambda *_: False, room_timeout=0.2) as sender,
        pytest.raises(DeliveryError, match="pace held it back"),
    ):
        sender.send("paced", b"1")


def test_options_win_over_the_defaults(cluster: str) -> None:
    with Sender({"bootstrap.servers": cluster, "compression.type": "none", "enable.idempotence": False}) as sender:
        sender.send("plain", b"1")
    assert sender.delivered == 1
