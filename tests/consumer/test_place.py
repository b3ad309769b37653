"""Where to begin: what people may write, and what it is in a topic."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from typer.testing import CliRunner

from brokers.kafka import Kafka
from brokers.mock import MockCluster
from skimstream.cli.begun import goes_on
from skimstream.cli.main import app
from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets
from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.patience import Unavailable
from skimstream.consumer.place import Moment, Place, PlaceError, place_of
from skimstream.consumer.source import Source, SourceError
from stage.listed import Listed, Topic, recorder, sessions


def source_of(start: Place, bootstrap: str = "127.0.0.1:1", topic: str = "t") -> Source:
    options = {"bootstrap.servers": bootstrap, "group.id": "g", "log_level": 0}
    return Source(topic, options, start, lambda number, lost: None)


@pytest.mark.parametrize(
    "content",
    [
        "t/0 12\n# of yesterday\nt/1\t7  # the second\n",
        "t/0\n12\nt/1\n7\n",  # redis-cli HGETALL
        '{"t/0": 12, "t/1": "7", "t/2": null}',
        json.dumps({"partitions": [{"name": f"t/{i}", "offset": at} for i, at in enumerate((12, 7, None))]}),
    ],
    ids=["lines", "redis-cli", "object", "skim lag --json"],
)
def test_a_file_of_offsets_in_each_of_its_forms(content: str, tmp_path: Path) -> None:
    file = tmp_path / "offsets"
    file.write_text(content)
    source = source_of(place_of(str(file)))
    assert [source.beginning(Address("t", number), 2, 20) for number in (0, 1, 2)] == [12, 7, 2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("t/0", "has no offset"),
        ("t 5", "no <topic>/<partition>"),
        ("t/0 -1", "for an offset"),
        ('{"t/0": true}', "for an offset"),
        ("t/0 1 t/0 2", "twice"),
        ("", "none in it"),
        ("{", "no file of offsets"),
        ("\0\xff", "no file of offsets"),
    ],
)
def test_a_wrong_file_is_a_wrong_setting(content: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "offsets"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=problem):
        load_settings(None, {"kafka": {"start": str(file)}})


def test_what_is_neither_word_nor_time_nor_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="'earlist' is none of these: earliest, latest, a time"):
        load_settings(None, {"kafka": {"start": "earlist"}})


def test_offsets_of_another_topic_or_out_of_range_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "offsets"
    file.write_text("other/0 5")
    with pytest.raises(PlaceError, match="no offset of the topic t"):
        source_of(place_of(str(file))).beginning(Address("t", 0), 0, 9)
    file.write_text("t/0 5")
    for low, high in ((6, 9), (0, 4)):
        with pytest.raises(PlaceError, match="says 5"):
            source_of(place_of(str(file))).beginning(Address("t", 0), low, high)


class Timed:
    """A consumer that knows times: mock clusters don't. Minutes are offsets."""

    def __init__(self, trouble: int = 0) -> None:
        self.trouble = trouble

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.trouble:
            raise KafkaException(KafkaError(self.trouble))
        minute = asked[0].offset // 60_000
        return [TopicPartition("t", asked[0].partition, minute if minute < 10 else -1)]


def test_a_time_is_the_first_message_that_late_or_the_end() -> None:
    for text, offset in (("1970-01-01T00:07Z", 7), ("1970-01-01T00:10", 20)):
        source: Any = source_of(place_of(text))
        source.consumer = Timed()
        assert source.beginning(Address("t", 0), 0, 20) == offset


@pytest.mark.parametrize(
    ("trouble", "raised"),
    [(KafkaError.LEADER_NOT_AVAILABLE, Unavailable), (KafkaError.TOPIC_AUTHORIZATION_FAILED, SourceError)],
)
def test_brokers_that_do_not_tell_are_waited_for_or_heard(trouble: int, raised: type[Exception]) -> None:
    source: Any = source_of(Moment(0))
    source.consumer = Timed(trouble)
    with pytest.raises(raised):
        source.beginning(Address("t", 0), 0, 20)


class Begun(Listed):
    """Begins at 3; notes for which partitions it was asked."""

    def beginning(self, address: Address, low: int, high: int) -> int:
        self.asked.append(address.number)
        return 3

    asked: list[int]


def test_the_board_goes_before_the_start(store: redis.Redis) -> None:
    events = sessions(12)
    topic = Topic({0: list(events[:6]), 1: list(events[6:])})
    store.hset("skim:{behaviour}:offsets", "t/1", 5)
    store.hset("skim:{behaviour}:checkpoints", "t/1", "5:new:0")
    source = Begun(topic, iter(lambda: 2, 0))
    source.asked = []
    worker = recorder(store)
    worker.run(source, lambda: source.done)
    assert source.asked == [0]
    assert sorted({(partition, offset) for partition, offset, _ in worker.emitted}) == [(0, 3), (0, 4), (0, 5), (1, 5)]
    assert read_offsets(store, "behaviour") == {"t/0": 6, "t/1": 6}


def test_a_refused_place_leaves_the_board_untouched(store: redis.Redis) -> None:
    class Refused(Begun):
        def beginning(self, address: Address, low: int, high: int) -> int:
            raise PlaceError("t/0", "not there")

    with pytest.raises(PlaceError):
        recorder(store).run(Refused(Topic({0: list(sessions(2))}), iter(lambda: 2, 0)), lambda: False)
    assert read_offsets(store, "behaviour") == {}


def test_a_start_that_comes_too_late_is_said(
    store: redis.Redis, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"stream": "behaviour", "topic": "events", "redis": {"url": store_url}}
    store.hset("skim:{behaviour}:offsets", "another/0", 7)
    assert goes_on(load_settings(None, flags)) == ""
    store.hset("skim:{behaviour}:offsets", mapping={"events/10": 7, "events/9": 5_000})
    said = goes_on(load_settings(None, flags))
    assert "events/9 (5,000), events/10 (7)." in said
    assert "redis-cli HDEL 'skim:{behaviour}:offsets' events/9 events/10," in said
    monkeypatch.setattr("skimstream.consumer.run.run", lambda *_, **__: pytest.fail("no model"))
    for flag in ("--from", "--start"):
        arguments = ["run", "behaviour", "--topic", "events", "--redis", store_url, "--model", "/nowhere"]
        ran = CliRunner().invoke(app, [*arguments, flag, "latest"])
        assert "go on from the board's offsets" in ran.stderr
    assert "go on from" not in CliRunner().invoke(app, arguments).stderr


def test_it_begins_at_a_file_of_offsets_on_a_broker(mock_cluster: MockCluster, tmp_path: Path) -> None:
    mock_cluster.create_topic("t", 1)
    producer = Producer({"bootstrap.servers": mock_cluster.bootstrap, "log_level": 0})
    for i in range(9):
        producer.produce("t", b"%d" % i, partition=0)
    assert producer.flush(20) == 0
    file = tmp_path / "offsets"
    file.write_text("t/0 6")
    found: list[Any] = []
    with source_of(place_of(str(file)), mock_cluster.bootstrap) as source:
        until(lambda: bool(source.batches(10, 0.1) or source.waiting))
        first = Address("t", 0)
        source.open(first, source.beginning(first, *source.range(first)))

        def came() -> bool:
            found.extend(source.batches(10, 0.1))
            return bool(found)

        until(came)
    assert found[0].values[0] == b"6"


@pytest.mark.nightly
def test_kafka_knows_the_offset_of_a_time(kafka: Kafka) -> None:
    topic, began = f"timed-{time.monotonic_ns()}", datetime.now(UTC) - timedelta(hours=1)
    kafka.create_topic(topic, 1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for minute in (0, 5, 3, 7):  # not in order: the first that late counts
        at = began + timedelta(minutes=minute)
        producer.produce(topic, b"%d" % minute, partition=0, timestamp=round(at.timestamp() * 1000))
    assert producer.flush(20) == 0
    begins, first = [], Address(topic, 0)
    for minute in (-1, 1, 4, 6, 30):
        place = place_of((began + timedelta(minutes=minute)).isoformat())
        with source_of(place, kafka.bootstrap, topic) as source:
            begins.append(source.beginning(first, *source.range(first)))
    assert begins == [0, 1, 1, 3, 4]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
