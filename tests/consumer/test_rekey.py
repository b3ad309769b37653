"""Repartitioning by object on a real Kafka: nothing lost, nothing twice, whatever dies."""

import json
import random
import signal
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from brokers.kafka import Kafka
from skimstream.cli.models import load_model
from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets
from skimstream.consumer.config import load_settings
from skimstream.consumer.internal import InternalTopicError, ensure, rekeyed
from skimstream.consumer.rekey import KEY, ORIGIN, Rekey, RekeyedDecoder, RekeyError, beside
from skimstream.consumer.run import Report, run
from skimstream.consumer.source import Source
from skimstream.consumer.topics import Nightly
from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.columns import Wanted
from skimstream.schemas.decode import Choice, Decoder
from stage.rekeying import POINTS, Lives, stage

PARTITIONS = 4
USERS = 40


@dataclass(frozen=True)
class Copy:
    """A message of the internal topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]]

    @property
    def origin(self) -> str:
        return dict(self.headers)[ORIGIN].decode()


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"in-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name, PARTITIONS)
    return name


def send(kafka: Kafka, topic: str, values: list[bytes | None], **more: Any) -> list[str]:
    """Messages in turn over the partitions, as a topic that isn't keyed has them; their places."""
    producer, places = Producer({"bootstrap.servers": kafka.bootstrap}), list[str]()

    def delivered(error: object, message: Any) -> None:
        assert error is None
        places.append(f"{topic}/{message.partition()}/{message.offset()}")

    for i, value in enumerate(values):
        producer.produce(topic, value, partition=i % PARTITIONS, on_delivery=delivered, **more)
    assert producer.flush(30) == 0
    return places


def events(n: int, first: int = 0) -> list[bytes | None]:
    rng = random.Random(n + first)
    return [json.dumps({"user_id": f"u{rng.randrange(USERS)}", "n": first + i}).encode() for i in range(n)]


def copies(kafka: Kafka, topic: str, isolation: str = "read_committed") -> list[Copy]:
    """All of the internal topic, by partition, in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": uuid.uuid4().hex,
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    name, found, ended = rekeyed(topic), list[Copy](), 0
    consumer.assign([TopicPartition(name, partition, 0) for partition in range(PARTITIONS)])
    while ended < PARTITIONS:
        for message in consumer.consume(1_000, 0.2):
            if message.error() is not None:
                ended += 1
                continue
            where = message.partition(), message.offset()
            headers: Any = message.headers()
            found.append(Copy(*where, message.key(), message.value(), message.timestamp()[1], headers))  # type: ignore[arg-type]
    consumer.close()
    return sorted(found, key=lambda one: (one.partition, one.offset))


def wait_for_copies(kafka: Kafka, topic: str, count: int, seconds: float = 30) -> list[Copy]:
    deadline = time.monotonic() + seconds
    while len(found := copies(kafka, topic)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} copies came in time"
        time.sleep(0.2)
    return found


@contextmanager
def running(stage: Rekey) -> Iterator[None]:
    """A stage in a thread; its error goes before the test's, which is then only a consequence."""
    with beside(stage, lambda: False) as ended:
        try:
            yield
        except AssertionError:
            if not ended():
                raise


def check_once_and_in_order(found: list[Copy], places: list[str]) -> None:
    """Every message once; each user in one partition, and as it was within each partition of the original."""
    assert Counter(one.origin for one in found) == Counter(places)
    homes, orders = defaultdict(set), defaultdict(list)
    for one in found:
        user = json.loads(one.value or b"")["user_id"].encode()
        assert one.key == user
        homes[user].add(one.partition)
        _, partition, offset = one.origin.split("/")
        orders[user, partition].append(int(offset))
    assert {len(home) for home in homes.values()} == {1}
    assert len(set.union(*homes.values())) == PARTITIONS
    assert all(offsets == sorted(offsets) for offsets in orders.values())


def test_copies_carry_all_that_the_originals_did(kafka: Kafka, topic: str) -> None:
    ensure({"bootstrap.servers": kafka.bootstrap}, topic)
    values = events(200)
    values[10:14] = [b"rubbish", None, b'{"user_id": null}', b'{"user_id": "%s"}' % (b"x" * 300)]
    when = int(time.time() * 1000) - 86_400_000  # of yesterday, to be kept for a week
    headers = [("_format", b"json"), ("traceparent", b"00-ab"), (ORIGIN, b"forged/0/0"), (KEY, b"forged")]
    places = send(kafka, topic, values, timestamp=when, headers=headers, key=b"not the object")
    with running(stage(kafka.bootstrap, topic, "", 50)):
        found = wait_for_copies(kafka, topic, 200)
    keyless = [one for one in found if one.key is None]
    check_once_and_in_order([one for one in found if one.key], sorted(set(places) - {one.origin for one in keyless}))
    # What has no object: as it came, in the partition of the same number.
    assert sorted(keyless, key=lambda one: one.partition) == sorted(keyless, key=lambda one: one.origin)
    assert {one.value for one in keyless} == {*values[10:14]}
    assert sorted(str(one.value) for one in found) == sorted(map(str, values))
    assert {one.timestamp for one in found} == {when}
    kept = [("_format", b"json"), ("traceparent", b"00-ab")]
    assert all(one.headers == [*kept, (ORIGIN, one.origin.encode())] for one in found)


def test_ten_kills_lose_and_repeat_nothing(kafka: Kafka, topic: str) -> None:
    ensure({"bootstrap.servers": kafka.bootstrap}, topic)
    places = send(kafka, topic, events(5_000))
    rng, ends = random.Random(7), []
    with Lives(kafka.bootstrap, topic, "a", size=60) as lives:
        for point in ("clock", *POINTS, *POINTS[1:]):
            count = rng.randrange(1_000, 1_500) if point == "clock" else rng.randrange(2, 5)
            ends.append(lives.life(signal.SIGKILL, point, count))
    assert ends == [("ended", signal.SIGKILL)] * 10
    assert 0 < len(copies(kafka, topic)) < 5_000
    with running(stage(kafka.bootstrap, topic, "a", 2_000)):
        found = wait_for_copies(kafka, topic, 5_000)
    check_once_and_in_order(found, places)
    assert len(copies(kafka, topic, "read_uncommitted")) > 5_000  # the kills did leave something to be undone


@pytest.mark.nightly  # half a minute
def test_a_dead_workers_open_transaction_is_waited_for(kafka: Kafka, topic: str) -> None:
    """Another name: only Kafka's timeout ends it. Its offsets must not be taken for what they were before."""
    ensure({"bootstrap.servers": kafka.bootstrap}, topic)
    places = send(kafka, topic, events(400))
    with Lives(kafka.bootstrap, topic, "", size=100, **{"session.timeout.ms": 1_000}) as lives:
        assert lives.life(signal.SIGKILL, "sent", 6) == ("ended", signal.SIGKILL)
    with running(stage(kafka.bootstrap, topic, "", 100)):
        check_once_and_in_order(wait_for_copies(kafka, topic, 400), places)


def test_a_zombies_transaction_is_refused(kafka: Kafka, topic: str) -> None:
    ensure({"bootstrap.servers": kafka.bootstrap}, topic)
    places = send(kafka, topic, events(2_000))
    short: Any = {"session.timeout.ms": 1_000}
    with Lives(kafka.bootstrap, topic, "", size=200, **short) as lives:
        how, pid = lives.life(signal.SIGSTOP, "produced", 6)  # the first four only say where it begins
        assert how == "stopped"
        with running(heir := stage(kafka.bootstrap, topic, "", 200, **short)):
            deadline = time.monotonic() + 30
            while heir.copied < 1_000:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            signal.pidfd_send_signal(open_pid(pid), signal.SIGCONT)
            check_once_and_in_order(wait_for_copies(kafka, topic, 2_000), places)
    assert len(copies(kafka, topic, "read_uncommitted")) > 2_000


def open_pid(pid: int) -> int:
    import os

    return os.pidfd_open(pid)


def test_all_nights_go_to_one_topic(kafka: Kafka) -> None:
    some = uuid.uuid4().hex[:8]
    now = [1_795_176_000.0]  # 2026-11-20T12:00Z
    topics = Nightly(f"{some}_{{date:%Y%m%d}}", 2, clock=lambda: now[0])
    options = {"bootstrap.servers": kafka.bootstrap}
    quick: dict[str, Any] = {"topic.metadata.refresh.interval.ms": 300}
    with pytest.raises(InternalTopicError, match="is not there yet"):
        ensure(options, topics)
    last, tonight = f"{some}_20261120", f"{some}_20261121"
    kafka.create_topic(last, PARTITIONS)
    assert ensure(options, topics) == PARTITIONS
    places = send(kafka, last, events(200))
    with running(stage(kafka.bootstrap, topics, "", 50, **quick)):
        wait_for_copies(kafka, topics.name, 200)
        now[0] += 86_400
        kafka.create_topic(tonight, PARTITIONS)
        places += send(kafka, last, events(20, 200))
        places += send(kafka, tonight, events(180, 220))
        wait_for_copies(kafka, topics.name, 400)
    now[0] += 3 * 86_400  # nobody was there: of these nights the group has no offsets
    after = f"{some}_20261124"
    kafka.create_topic(after, PARTITIONS)
    places += send(kafka, after, events(40, 400))
    with running(stage(kafka.bootstrap, topics, "", 50, **quick)):
        found = wait_for_copies(kafka, topics.name, 440)
    assert Counter(one.origin for one in found) == Counter(places)
    homes = defaultdict(set)
    for one in found:
        homes[one.key].add(one.partition)
    assert {len(home) for home in homes.values()} == {1}


def test_two_stages_share_the_work(kafka: Kafka, topic: str) -> None:
    ensure({"bootstrap.servers": kafka.bootstrap}, topic)
    one, two = (stage(kafka.bootstrap, topic, name, 100) for name in ("a", "b"))
    places = send(kafka, topic, events(500))
    with running(one):
        wait_for_copies(kafka, topic, 500)
        with running(two):
            n = 500
            while not two.copied:
                assert n < 20_000
                places += send(kafka, topic, events(100, n))
                n += 100
                time.sleep(0.2)
            places += send(kafka, topic, events(500, n))
            wait_for_copies(kafka, topic, len(places))
        places += send(kafka, topic, events(500, 99_000))  # and the first takes it all back
        check_once_and_in_order(wait_for_copies(kafka, topic, len(places)), places)
    assert one.copied + two.copied == len(places)


def test_a_second_group_is_refused(kafka: Kafka, topic: str) -> None:
    ensure({"bootstrap.servers": kafka.bootstrap}, topic)
    send(kafka, topic, events(10))
    with running(stage(kafka.bootstrap, topic, "", 100)):
        wait_for_copies(kafka, topic, 10)
    other = stage(kafka.bootstrap, topic, "", 100, group="other")
    deadline = time.monotonic() + 20
    with pytest.raises(RekeyError, match="another group"):
        other.run(lambda: time.monotonic() > deadline)
    assert len(copies(kafka, topic)) == 10


def test_a_stage_that_fails_ends_the_worker_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = stage("127.0.0.1:1", "t", "", 1)

    def fail(stopping: object) -> None:
        raise RekeyError("t", "no")

    monkeypatch.setattr(failing, "run", fail)

    def work() -> None:
        with beside(failing, lambda: False) as stopping:
            deadline = time.monotonic() + 10
            while not stopping():
                assert time.monotonic() < deadline

    with pytest.raises(RekeyError, match=r"can't be copied to t\.rekeyed: no"):
        work()


def test_the_internal_topic_is_made_like_the_original(kafka: Kafka) -> None:
    name, options = f"in-{uuid.uuid4().hex[:8]}", {"bootstrap.servers": kafka.bootstrap}
    with pytest.raises(InternalTopicError, match="not there yet"):
        ensure(options, name)
    kafka.create_topic(name, 3, retention_ms=123_456_789, max_message_bytes=2_000_000)
    assert ensure(options, name) == 3
    assert ensure(options, name) == 3
    with pytest.raises(InternalTopicError, match="3 partitions, rekey_partitions says 5"):
        ensure(options, name, 5)
    assert topic_config(kafka, rekeyed(name)).items() >= {
        ("retention.ms", "123456789"),
        ("max.message.bytes", str(2_000_000 + 65_536)),
        ("cleanup.policy", "delete"),
    }
    compacted = f"in-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(compacted, 2)
    kafka.create_topic(rekeyed(compacted), 2, cleanup_policy="compact")
    with pytest.raises(InternalTopicError, match="compacted"):
        ensure(options, compacted)


def topic_config(kafka: Kafka, name: str) -> Mapping[str, str]:
    from skimstream.consumer.internal import _config

    return _config(kafka.admin(), name)


def test_a_schema_in_the_key_reaches_the_decoder() -> None:
    fields = [{"name": "objectId", "type": "string"}]
    schema = json.dumps({"type": "record", "name": "alert", "fields": fields}).encode()
    wanted = Wanted(texts=("objectId",))
    framings: tuple[Choice, ...] = ("key", "auto")
    for framing in framings:
        decoder = RekeyedDecoder(wanted, framing)
        decoded = decoder.decode([b"\x06ZTF"], [b"ZTF"], [[(ORIGIN, b"t/0/0"), (KEY, schema)]])
        assert decoded.columns.text("objectId").at(0) == "ZTF"
    assert len(Decoder(wanted, "key").decode([b"\x06ZTF"], [b"ZTF"], [[(KEY, schema)]]).rejected) == 1


def test_a_worker_scores_the_repartitioned_topic_over_its_gaps(
    kafka: Kafka, topic: str, store: redis.Redis, store_url: str
) -> None:
    schema, start = load("behaviour"), datetime(2026, 11, 21, tzinfo=UTC)
    sessions = [plain(one.record, schema) for one in simulate_sessions(3, start, 600, users=USERS, anomaly_rate=0.05)]
    settings = load_settings(
        None,
        {
            "stream": "behaviour",
            "topic": topic,
            "rekey": True,
            "kafka": {"bootstrap": kafka.bootstrap, "group": topic},
            "redis": {"url": store_url},
            "metrics": {"port": 0},
        },
    )
    model = load_model("behaviour", None)
    sent = 0
    for part in (sessions[:300], [b"rubbish", *sessions[300:]]):
        send(kafka, topic, [*part])
        sent += len(part)
        stop, ports, reports = threading.Event(), list[int](), list[Report]()

        def ready(port: int, problem: str | None, ports: list[int] = ports) -> None:
            ports.append(port)

        def work(stop: threading.Event = stop, ready: Any = ready, reports: list[Report] = reports) -> None:
            reports.append(run(settings, model, stop.is_set, ready))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            found = wait_for_copies(kafka, topic, sent)
            ends = {f"{rekeyed(topic)}/{p}": 0 for p in range(PARTITIONS)}
            ends |= {f"{rekeyed(topic)}/{one.partition}": one.offset + 1 for one in found}
            deadline = time.monotonic() + 30
            while (offsets := read_offsets(store, "behaviour")) != ends:
                assert time.monotonic() < deadline, (offsets, ends)
                time.sleep(0.1)
            wait_until_no_lag(ports[0])
        finally:
            stop.set()
            thread.join(30)
        assert reports[0].tally.consumed == len(part)
        assert sum(reports[0].tally.dead.values()) == part.count(b"rubbish")
    counts = Counter(one.partition for one in found)
    assert all(ends[f"{rekeyed(topic)}/{p}"] > counts[p] for p in range(PARTITIONS))  # the gaps


@pytest.mark.parametrize("then", ["opened", "consumed", "paused"])
def test_what_was_fetched_is_not_lost_when_partitions_come_and_pauses_go(kafka: Kafka, topic: str, then: str) -> None:
    """What librdkafka forgets of a partition just opened is read again (without that, 100 messages are missing)."""
    places = send(kafka, topic, events(400))
    options = {"bootstrap.servers": kafka.bootstrap, "group.id": topic}
    found, deadline = list[str](), time.monotonic() + 30

    def take(size: int) -> None:
        assert time.monotonic() < deadline, f"{len(found)} of 400 messages came in time"
        for batch in source.batches(size, 0.2):
            found.extend(f"{batch.name}/{offset}" for offset in batch.offsets)

    with Source(topic, options, "earliest", lambda partition, lost: None) as source:
        while len(source.waiting) < PARTITIONS:
            take(10)
        for partition in range(PARTITIONS):
            source.range(Address(topic, partition))  # as a worker does; meanwhile those already open are fetched
            source.open(Address(topic, partition), 0)
            if then == "consumed":
                time.sleep(0.5)
                take(30)
        if then != "opened":
            time.sleep(0.5)
            source.idle(0.3)
            source.go_on()
        while len(found) < 400:
            take(500)
        take(500)
    assert Counter(found) == Counter(places)


def wait_until_no_lag(port: int) -> None:
    """Transactions' last markers count as messages for Kafka; here they must not."""
    from urllib.request import urlopen

    deadline = time.monotonic() + 20
    while True:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("skim_consumer_lag_m")]
        if len(lines) == PARTITIONS and all(line.endswith(" 0.0") for line in lines):
            return
        assert time.monotonic() < deadline, lines
        time.sleep(0.3)
