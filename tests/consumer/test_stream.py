"""From a topic to the board over real protocols: librdkafka's mock cluster and a real Valkey."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, Producer

from brokers.mock import MockCluster
from skimstream.cli.models import load_model
from skimstream.consumer.board import key, read_nights, read_offsets, read_top
from skimstream.consumer.config import Settings, load_settings
from skimstream.consumer.run import Report, run
from skimstream.producer.archive import messages
from skimstream.producer.replay import replay
from skimstream.producer.send import Sender
from skimstream.scoring.model import Model

PARTITIONS = 4  # what the mock gives a topic


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("ztf", None)


def settings_for(broker: str, store_url: str, **more: Any) -> Settings:
    return load_settings(
        None,
        {
            "stream": "ztf",
            "topic": "alerts",
            # The mock notices that a member has left only when its session ends.
            "kafka": {"bootstrap": broker, "group": "g", "options": {"session.timeout.ms": 6000}},
            "redis": {"url": store_url},
            "metrics": {"port": 0},
            **more,
        },
    )


@contextmanager
def running(settings: Settings, model: Model) -> Any:
    """A worker in a thread; yields a function that stops it and answers its report."""
    stop = threading.Event()
    answers: list[Report | BaseException] = []

    def work() -> None:
        try:
            answers.append(run(settings, model, stop.is_set))
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def finish() -> Report:
        stop.set()
        thread.join(30)
        answer = answers[0]
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Report)
        return answer

    try:
        yield finish
    finally:
        stop.set()
        thread.join(30)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def read(store: redis.Redis) -> int:
    return sum(read_offsets(store, "ztf").values())


def make_topic(broker: str, *names: str) -> None:
    """The mock makes the topics that somebody asks for."""
    producer = Producer({"bootstrap.servers": broker})
    for name in names:
        producer.list_topics(name, timeout=10)


def letters_of(broker: str, expected: int) -> list[tuple[bytes | None, dict[str, str]]]:
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "letters", "auto.offset.reset": "earliest"})
    consumer.subscribe(["alerts.dlq"])
    found: list[tuple[bytes | None, dict[str, str]]] = []
    try:
        wait_for(lambda: bool(_take(consumer, found)) and len(found) >= expected)
    finally:
        consumer.close()
    return found


def _take(consumer: Consumer, found: list[tuple[bytes | None, dict[str, str]]]) -> bool:
    message = consumer.poll(0.2)
    if message is not None and message.error() is None:
        headers: Any = message.headers() or []
        found.append((message.value(), {name: value.decode() for name, value in headers}))
    return True


def test_every_real_alert_is_scored_or_accounted_for(
    shared: Path, broker: str, store: redis.Redis, store_url: str, model: Model
) -> None:
    make_topic(broker, "alerts", "alerts.dlq")
    archives = sorted((shared / "data" / "ztf").glob("*.tar.gz"))
    poison = sorted((shared / "data" / "poison").glob("*.avro"))
    with running(settings_for(broker, store_url), model) as finish:
        # The mock keeps 5 MB a partition, so the alerts go as the worker takes them.
        wait_for(lambda: len(read_offsets(store, "ztf")) == PARTITIONS)
        sent = 0

        def pace(*_: object) -> bool:
            nonlocal sent
            wait_for(lambda: sent - read(store) < 40)
            sent += 1
            return True

        with Sender({"bootstrap.servers": broker}, pace=pace) as sender:
            good = replay(messages(archives), sender, "alerts")
            bad = replay(messages(poison), sender, "alerts")
        assert (good.sent, bad.sent, sender.undelivered_total) == (358, 29, 0)
        wait_for(lambda: read(store) == 387)
        letters = letters_of(broker, 29)
        tally = finish().tally
    assert tally.consumed == 387
    assert tally.consumed == tally.scored + sum(tally.unscored.values()) + sum(tally.dead.values())
    assert sum(tally.dead.values()) == 29
    assert tally.unscored["no_object_id"] == 4
    assert tally.scored > 60
    # Dead letters: the very bytes, each once, and where they came from.
    assert sorted(value or b"" for value, _ in letters) == sorted(path.read_bytes() for path in poison)
    assert {headers["reason"] for _, headers in letters} == set(tally.dead)
    assert {headers["topic"] for _, headers in letters} == {"alerts"}
    assert len({(headers["partition"], headers["offset"]) for _, headers in letters}) == 29
    # The board: plain keys that redis-cli reads, and every scored object on it.
    nights = read_nights(store, "ztf")
    assert "2018-11-28" in nights
    raw: Any = store.zrevrange(key("ztf", "top", "2018-11-28"), 0, -1, withscores=True)
    assert [(thing, score) for thing, score in raw] == [
        (entry["object"].encode(), entry["score"]) for entry in read_top(store, "ztf", "2018-11-28", 1_000)
    ]
    assert sum(store.zcard(key("ztf", "top", night)) for night in nights) <= tally.scored


def test_dead_letters_of_a_read_only_stream_go_to_brokers_of_ones_own(
    broker: str, store: redis.Redis, store_url: str, model: Model
) -> None:
    with MockCluster(1) as mine:
        make_topic(broker, "alerts")
        make_topic(mine.bootstrap, "alerts.dlq")
        out = {"bootstrap": mine.bootstrap, "options": {"client.id": "letters"}}
        with running(settings_for(broker, store_url, outgoing=out), model) as finish:
            producer = Producer({"bootstrap.servers": broker})
            producer.produce("alerts", b"rubbish")
            producer.flush(10)
            [(value, headers)] = letters_of(mine.bootstrap, 1)
            assert (value, headers["topic"]) == (b"rubbish", "alerts")
            assert sum(finish().tally.dead.values()) == 1
        there = Consumer({"bootstrap.servers": broker, "group.id": "x", "allow.auto.create.topics": False})
        assert "alerts.dlq" not in there.list_topics(timeout=10).topics
        there.close()


def test_a_restarted_worker_goes_on_at_rediss_offset_not_at_kafkas(
    broker: str, store: redis.Redis, store_url: str, model: Model
) -> None:
    make_topic(broker, "alerts", "alerts.dlq")
    settings = settings_for(broker, store_url)
    with Sender({"bootstrap.servers": broker}) as sender:
        for i in range(40):
            sender.send("alerts", b"rubbish %d" % i, partition=i % PARTITIONS)
    with running(settings, model) as finish:
        wait_for(lambda: read(store) == 40)
        assert finish().tally.dead == {"schema_unknown": 40}
    # As if Redis had gone back to before this partition's first checkpoint.
    store.hset(key("ztf", "offsets"), "alerts/2", "7")
    store.hset(key("ztf", "checkpoints"), "alerts/2", "0:new:0")
    with Sender({"bootstrap.servers": broker}) as sender:
        sender.send("alerts", b"one more", partition=0)
    with running(settings, model) as finish:
        wait_for(lambda: read(store) == 41)
        assert finish().tally.dead == {"schema_unknown": 3 + 1}


def test_metrics_are_served_on_loopback_while_it_runs(
    broker: str, store: redis.Redis, store_url: str, model: Model
) -> None:
    from urllib.request import urlopen

    make_topic(broker, "alerts")
    ports: list[int] = []
    stop = threading.Event()
    settings = settings_for(broker, store_url)
    thread = threading.Thread(target=run, args=(settings, model, stop.is_set, lambda port, _: ports.append(port)))
    thread.start()
    try:
        wait_for(lambda: bool(ports))
        wait_for(lambda: len(read_offsets(store, "ztf")) == PARTITIONS)
        with urlopen(f"http://127.0.0.1:{ports[0]}/metrics") as answer:
            text = answer.read().decode()
    finally:
        stop.set()
        thread.join(30)
    assert "skim_partitions_assigned 4.0" in text
    assert f'version="{model.id}"' in text
