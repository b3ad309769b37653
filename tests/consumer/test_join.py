"""Labels of a topic of their own come to their events' partition, once, and no earlier than they may."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.consumer.batch import headers_of
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream, decoder_of
from skimstream.consumer.join import LABEL, Event, Join, JoinError, Waiting
from skimstream.consumer.label import Label, read, seconds, written
from skimstream.consumer.stored import stored
from skimstream.consumer.streams.definition import TimeFormat
from skimstream.consumer.streams.own import Own
from skimstream.schemas.decode import Decoder
from skimstream.schemas.errors import DecodeError

HOUR = 3_600
BEGAN = 1_790_000_000
TOML = """
[stream.pay]
key = "who.card"
event = "number"
time = "when"
time_format = "seconds"
numbers = ["amount"]
entities = ["shop"]
features = ["value", "risk"]
half_lives = ["1d"]
labels = { field = "fraud", event_time = "paid", delay = "1h" }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "skim.toml"
    file.write_text(TOML)
    return file


def payment(number: int, minutes: float) -> dict[str, Any]:
    when = BEGAN + int(60 * minutes)
    return {
        "number": f"p{number}",
        "who": {"card": f"c{number % 3}"},
        "shop": f"s{number % 2}",
        "when": when,
        "amount": 5,
    }


class Log:
    """A mock cluster's topics `pay`, of two partitions, and `pay.labels`."""

    def __init__(self, broker: str, config: Path) -> None:
        self.options = {"bootstrap.servers": broker, "log_level": 0, "fetch.wait.max.ms": 10}
        self.settings = load_settings(config, {"kafka": {"bootstrap": broker}})
        self.producer = Producer({"bootstrap.servers": broker, "log_level": 0})
        for topic in ("pay", "pay.labels"):
            self.producer.list_topics(topic, timeout=10)  # makes it

    def pay(self, *payments: dict[str, Any]) -> None:
        for one in payments:
            self.send("pay", one, int(one["who"]["card"][1]) % 2)
        self.producer.flush(10)

    def label(self, *labels: dict[str, Any] | bytes) -> None:
        for one in labels:
            self.send("pay.labels", one, 0)
        self.producer.flush(10)

    def send(self, topic: str, record: dict[str, Any] | bytes, partition: int) -> None:
        value = record if isinstance(record, bytes) else json.dumps(record).encode()
        key = record["who"]["card"].encode() if isinstance(record, dict) and "who" in record else None
        self.producer.produce(topic, value, key, partition)

    def join(self, **more: Any) -> Join:
        stream = configured_stream(self.settings)
        assert isinstance(stream, Own)
        return Join(stream, "pay", "pay.labels", decoder_of(self.settings, stream), self.options, **more)

    def copies(self) -> list[tuple[int, bytes | None, dict[str, Any], bytes]]:
        """Of each label among the events: partition, key, record, place of its original."""
        found = []
        for message in stored(self.options, "pay"):
            place = dict(headers_of(message) or ()).get(LABEL)
            if place is not None:
                found.append((message.partition() or 0, message.key(), json.loads(message.value() or b""), place))
        return found


@pytest.fixture
def kafka_log(broker: str, config: Path) -> Log:
    return Log(broker, config)


def test_labels_find_their_events_and_wait_for_their_time_and_are_copied_once(kafka_log: Log) -> None:
    kafka_log.pay(payment(0, 0), payment(1, 10), payment(2, 20))
    kafka_log.label({"event_id": "p1", "label": 1, "time": BEGAN + 600}, b"rubbish", {"event_id": "p9", "label": 0})
    first = kafka_log.join().run(lambda: False, once=True)
    assert (first.events, first.copied, first.early, first.unknown, first.unreadable) == (3, 0, 1, 1, 1)

    kafka_log.pay(payment(3, 70))  # p1 was an hour ago
    second = kafka_log.join().run(lambda: False, once=True)
    assert (second.copied, second.present, second.early, second.unknown) == (1, 0, 0, 1)
    ((partition, key, record, place),) = kafka_log.copies()
    assert (partition, key, place) == (1, b"c1", b"pay.labels/0/0")
    paid = BEGAN + 600
    assert record == {
        "who": {"card": "c1"}, "number": "p1", "shop": "s1", "paid": paid, "when": paid + HOUR, "fraud": 1
    }  # fmt: skip

    kafka_log.pay(payment(9, 80), payment(4, 150))  # the event came after its label
    third = kafka_log.join().run(lambda: False, once=True)
    assert (third.copied, third.present) == (1, 1)
    assert sorted(place for *_, place in kafka_log.copies()) == [b"pay.labels/0/0", b"pay.labels/0/2"]
    assert kafka_log.join().run(lambda: False, once=True).copied == 0


def test_workers_learn_from_the_copies(kafka_log: Log, config: Path) -> None:
    kafka_log.pay(*(payment(number, number) for number in range(200)))
    kafka_log.label(*({"event_id": f"p{n}", "label": n % 2, "time": BEGAN + 60 * n} for n in range(100)))
    given = ["join", "pay", "-c", str(config), "--kafka", str(kafka_log.options["bootstrap.servers"]), "--once"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["copied"] == 100
    kafka_log.pay(payment(202, 201), payment(205, 201))

    stream = configured_stream(kafka_log.settings)
    values = [message.value() for message in stored(kafka_log.options, "pay") if message.partition() == 1]
    columns = Decoder(stream.wanted, "json").decode(values).columns
    assert not stream.check(columns)
    found = stream.open().features(columns)
    assert found.unscored == {"gate": 0, "label": 33}
    even, odd = found.matrix[-2:, stream.features.index("shop: risk over 1 d")]
    assert even == 0.0
    assert odd > 0.9  # of shop 1, all of whose payments were frauds


def test_two_at_once_are_noticed(kafka_log: Log) -> None:
    kafka_log.pay(payment(0, 0), payment(3, 90))
    joining = kafka_log.join()
    looks = 0

    def stopping() -> bool:
        nonlocal looks
        looks += joining.caught_up
        if looks == 1:
            copy = {
                "number": "p0",
                "who": {"card": "c0"},
                "shop": "s0",
                "paid": BEGAN,
                "when": BEGAN + HOUR,
                "fraud": 1,
            }
            kafka_log.producer.produce("pay", json.dumps(copy), b"c0", 0, headers=[(LABEL, b"pay.labels/0/7")])
            kafka_log.producer.flush(10)
        return looks > 50

    kafka_log.label(b"{}")
    with pytest.raises(JoinError, match="another process"):
        joining.run(stopping)


def test_streams_that_have_no_labels_say_so(kafka_log: Log, config: Path) -> None:
    broker = str(kafka_log.options["bootstrap.servers"])
    for text, problem in (
        (TOML.replace('event = "number"\n', ""), "has no event"),
        (TOML.replace("labels =", "# labels =").replace(', "risk"', ""), "has no labels"),
        (TOML.replace("[stream.pay]", '[stream.pay]\nframing = "container"'), 'framing is "container"'),
    ):
        config.write_text(text)
        done = CliRunner().invoke(app, ["join", "pay", "-c", str(config), "--kafka", broker, "--once"])
        assert isinstance(done.exception, JoinError)
        assert problem in str(done.exception)


def test_where_labels_come_from_changes_nothing_that_is_remembered(config: Path) -> None:
    digests = []
    for more in ("", ', topic = "pay.labels"', ', topic = "other"'):
        config.write_text(TOML.replace('delay = "1h"', 'delay = "1h"' + more))
        stream = configured_stream(load_settings(config, {}))
        assert isinstance(stream, Own)
        digests.append(stream.definition.digest)
    assert len(set(digests)) == 1


def test_what_waits_is_bounded_and_clocks_that_are_wrong_release_nothing() -> None:
    waiting = Waiting(HOUR, remembered=2)
    for n in range(3):
        waiting.event(f"e{n}", Event(0, None, {}, float(n)), float(n))
    assert list(waiting.events) == ["e1", "e2"]
    for n in range(4):
        waiting.label(f"l/0/{n}", Label(f"x{n}", True))
    assert (list(waiting.unknown), waiting.forgotten) == (["x2", "x3"], 2)
    waiting.label("l/0/4", Label("e1", True))
    waiting.event("e3", Event(0, None, {}, 1e9), 3.0)  # says that it will be in a thousand million seconds
    assert waiting.now == 3.0
    assert not list(waiting.ready())
    waiting.event("e4", Event(0, None, {}, HOUR + 1.0), 1e9)
    assert [(place, time) for place, _, _, time in waiting.ready()] == [("l/0/4", HOUR + 1.0)]
    for n in range(5, 9):
        waiting.label(f"l/0/{n}", Label("e4", True))
    assert (len(waiting.due), waiting.forgotten) == (2, 4)


def test_many_labels_of_one_event_that_never_comes_are_bounded_too() -> None:
    waiting = Waiting(HOUR, remembered=3)
    for n in range(10):
        waiting.label(f"l/0/{n}", Label("x", True))
    assert sum(map(len, waiting.unknown.values())) + waiting.forgotten == 10
    assert sum(map(len, waiting.unknown.values())) <= 3
    waiting.event("x", Event(0, None, {}, 0.0), 0.0)
    assert len(waiting.due) == 10 - waiting.forgotten


@pytest.mark.parametrize("time_format", ["iso8601", "seconds", "milliseconds", "microseconds", "mjd", "jd"])
def test_times_of_copies_are_read_as_they_were_written(time_format: TimeFormat) -> None:
    for time in (0.0, 1_795_132_800.0, 1_795_132_800.25):
        said = written(time, time_format)
        assert seconds(said, time_format) == pytest.approx(math.ceil(time), abs=1e-4)
    assert seconds(61_364.0, "mjd") == seconds(2_461_364.5, "jd") == 1_795_132_800.0  # 2026-11-20


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"", b"[]", b'{"label": 1}', b'{"event_id": true, "label": 1}', b'{"event_id": "", "label": 1}'),
        *(b'{"event_id": "e", "label": 2}', b'{"event_id": "e", "label": {}}', b'{"event_id": "e", "time": "soon"}'),
    ],
)
def test_what_is_no_label_says_why(wrong: bytes) -> None:
    with pytest.raises(DecodeError):
        read(wrong)


def test_labels_as_they_come() -> None:
    assert read(b'{"event_id": "e", "label": true, "time": 60000}', "milliseconds") == Label("e", True, 60.0)
    assert read(b'{"event_id": "e", "label": 0, "time": "1970-01-01T00:01:00"}') == Label("e", False, 60.0)
    assert not read(b'{"event_id": "e", "kind": null}').anomaly
    assert read(b'{"event_id": "e", "kind": "flare"}').anomaly
