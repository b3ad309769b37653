"""A replay sends the archive's bytes, in order, at the asked pace."""

from confluent_kafka import Consumer, Producer, TopicPartition

from skimstream.producer.pace import Pace
from skimstream.producer.replay import ReplaySummary, replay
from skimstream.producer.send import Sender

MESSAGES = [(f"night/{i}.avro", bytes([i]) * (i + 1)) for i in range(20)]
PARTITIONS = 4  # of librdkafka's mock


def test_bytes_arrive_as_they_were() -> None:
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused:1"})
    servers = ",".join(f"{broker.host}:{broker.port}" for broker in host.list_topics(timeout=10).brokers.values())
    progress: list[tuple[int, int]] = []
    with Sender({"bootstrap.servers": servers}) as sender:
        summary = replay(MESSAGES, sender, "again", progress=lambda sent, size: progress.append((sent, size)))
    assert summary == ReplaySummary(sent=20, bytes=210, undelivered=0)
    assert (progress[0], progress[-1]) == ((1, 1), (20, 210))

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test"})
    try:
        consumer.assign([TopicPartition("again", partition, 0) for partition in range(PARTITIONS)])
        got = consumer.consume(len(MESSAGES), timeout=10)
    finally:
        consumer.close()
    partitions: dict[object, list[tuple[str, bytes | None]]] = {}
    for message in got:
        headers = message.headers()
        assert isinstance(headers, list)
        ((header, name),) = headers
        assert header == "name"
        assert isinstance(name, bytes)
        partitions.setdefault(message.partition(), []).append((name.decode(), message.value()))
    order = {name: i for i, (name, _) in enumerate(MESSAGES)}
    assert all(part == sorted(part, key=lambda pair: order[pair[0]]) for part in partitions.values())
    assert sorted((pair for part in partitions.values() for pair in part), key=lambda pair: order[pair[0]]) == MESSAGES


def test_undelivered_are_in_the_summary() -> None:
    with Sender({"bootstrap.servers": "127.0.0.1:9", "log_level": 0, "message.timeout.ms": 200}) as sender:
        sender.send("before", b"not the replay's")
        sender.flush(5)
        assert replay(MESSAGES[:3], sender, "again") == ReplaySummary(sent=3, bytes=6, undelivered=3)


def test_the_pace_is_kept() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(100, clock=lambda: now[0], sleep=sleep)
    with Sender({"bootstrap.servers": "127.0.0.1:9", "log_level": 0, "message.timeout.ms": 200}) as sender:
        replay(MESSAGES[:11], sender, "again", pace)
    assert round(now[0], 6) == 0.1
