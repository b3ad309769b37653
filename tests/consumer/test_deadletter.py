"""Dead letters keep all of the message, arrive for certain, and hold nobody up."""

import ctypes
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from brokers.kafka import Kafka
from brokers.mock import Api, MockCluster
from brokers.server import Unavailable
from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch, headers_of
from skimstream.consumer.letter import DeadLetterError, Letter, Place, Receipt, read
from skimstream.consumer.letterbox import survey
from skimstream.consumer.outgoing import DeliverySlow, Outgoing
from skimstream.consumer.provide import provide
from skimstream.consumer.resend import Resend, ResendError
from skimstream.consumer.source import Source
from skimstream.consumer.stored import TopicUnreadable, stored
from skimstream.producer.encode import container
from skimstream.producer.schema import WriterSchema
from skimstream.schemas.errors import REASONS, DecodeError

NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
PAIRS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=5).map(tuple)
PLACES = st.builds(Place, NAMES, st.integers(0, 99), st.integers(0, 2**63 - 1), st.integers(-1, 2**63 - 1))
LETTERS = st.builds(
    Letter,
    place=PLACES,
    value=st.none() | st.binary(max_size=50),
    reason=st.sampled_from(REASONS),
    detail=NAMES,
    key=st.none() | st.binary(max_size=9),
    original=PAIRS,
    schema=st.sampled_from(["", "704"]),
)
POISON = DecodeError("decode", "not an Avro container")


def options(bootstrap: str) -> dict[str, str | int]:
    return {"bootstrap.servers": bootstrap, "log_level": 0}


def a_letter(value: bytes | None = b"\0rub\xffbish", offset: int = 7) -> Letter:
    headers = [("h", b"\0\xff"), ("h", b""), ("reason", b"its own")]
    batch = Batch(Address("t", 0), offset, offset + 1, [offset], [value], [1_790_000_000_123], [b"\xffkey"], [headers])
    return Letter.of(batch, 0, POISON)


def confirm(letters: Outgoing, seconds: float = 30.0) -> None:
    """As a worker does it: again and again, on a machine that has other things to do."""
    until = time.monotonic() + seconds
    while True:
        try:
            return letters.confirm()
        except DeliverySlow:
            if time.monotonic() > until:
                raise


def delivered(bootstrap: str, topic: str = "t.dlq") -> list[Message]:
    return list(stored(options(bootstrap), topic))


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    try:
        mock = MockCluster(1)
    except Unavailable as reason:
        pytest.skip(str(reason))
    with mock:
        mock.create_topic("t", 2)
        mock.create_topic("t.dlq", 1)
        yield mock


@given(LETTERS)
def test_a_letter_reads_as_it_was_written(letter: Letter) -> None:
    assert read(Message(value=letter.value, key=letter.key, headers=letter.headers())) == letter


@given(PLACES, NAMES)
def test_a_receipt_reads_as_it_was_written(place: Place, topic: str) -> None:
    assert read(Message(headers=Receipt(place, topic).headers())) == Receipt(place, topic)


@given(PAIRS, st.none() | st.binary(max_size=20))
def test_what_others_write_into_the_topic_is_neither(pairs: tuple[tuple[str, bytes | None], ...], value: bytes) -> None:
    assert read(Message(value=value, headers=list(pairs))) is None


def test_a_letter_names_the_schema() -> None:
    def schema_of(value: bytes, error: DecodeError = POISON) -> str:
        return Letter.of(Batch(Address("t", 0), 0, 1, [0], [value], [0]), 0, error).schema

    schema = WriterSchema('{"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}]}')
    one, two = (container({"x": x}, schema) for x in (1, 2))
    assert schema_of(one) == schema_of(two)
    assert schema_of(one).startswith("sha256:")
    assert schema_of(container({}, WriterSchema('{"type": "record", "name": "r", "fields": []}'))) != schema_of(one)
    assert schema_of(b"\0\0\0\2\xc0") == "704"
    assert schema_of(one[:20]) == schema_of(b"rubbish") == schema_of(b"") == ""
    assert schema_of(one, DecodeError("crash", "it ended the process more than once")) == ""  # never looked at


def test_bytes_key_and_headers_arrive_as_they_came(cluster: MockCluster) -> None:
    letters = Outgoing(options(cluster.bootstrap))
    sent = [a_letter(), a_letter(None, 8), a_letter(b"", 9)]
    for letter in sent:
        letters.send(letter)
    confirm(letters)
    arrived = delivered(cluster.bootstrap)
    assert [read(message) for message in arrived] == sent
    assert [message.value() for message in arrived] == [b"\0rub\xffbish", None, b""]
    assert arrived[0].key() == b"\xffkey"
    headers = arrived[0].headers()
    assert isinstance(headers, list)
    assert headers[-3:] == [("original.h", b"\0\xff"), ("original.h", b""), ("original.reason", b"its own")]
    assert [(name, value) for name, value in headers if name in ("reason", "topic", "partition", "offset")] == [
        ("topic", b"t"),
        ("partition", b"0"),
        ("offset", b"7"),
        ("reason", b"decode"),
    ]


def test_confirm_waits_a_second_at_most_and_delivers_once_the_broker_is_back(cluster: MockCluster) -> None:
    letters = Outgoing({**options(cluster.bootstrap), "reconnect.backoff.max.ms": 200})
    letters.send(a_letter())
    cluster.broker_down()
    began = time.monotonic()
    with pytest.raises(DeliverySlow):
        letters.confirm()
    assert time.monotonic() - began < 3
    cluster.broker_up()
    confirm(letters)
    assert [read(message) for message in delivered(cluster.bootstrap)] == [a_letter()]


def test_a_topic_that_refuses_is_named(cluster: MockCluster) -> None:
    letters = Outgoing(options(cluster.bootstrap))
    cluster.push_errors(Api.PRODUCE, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    letters.send(a_letter())
    with pytest.raises(DeadLetterError, match=r"t\.dlq"):
        confirm(letters)


def test_a_letter_longer_than_the_topic_allows_goes_without_its_bytes(cluster: MockCluster) -> None:
    letters = Outgoing(options(cluster.bootstrap))
    cluster.push_errors(Api.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    letters.send(a_letter(bytes(2_000_000)))
    confirm(letters)
    letters = Outgoing({**options(cluster.bootstrap), "message.max.bytes": 10_000})  # here the client itself refuses
    letters.send(a_letter(bytes(20_000), 8))
    confirm(letters)
    found = [read(message) for message in delivered(cluster.bootstrap)]
    assert [(one.value, one.omitted, one.place.offset) for one in found if isinstance(one, Letter)] == [
        (None, 2_000_000, 7),
        (None, 20_000, 8),
    ]


def test_a_letter_delivered_twice_counts_once_and_a_new_topic_is_another(cluster: MockCluster) -> None:
    letters = Outgoing(options(cluster.bootstrap))
    for letter in (a_letter(), a_letter(), a_letter(offset=8)):
        letters.send(letter)
    newer = a_letter()
    letters.send(Letter(newer.place._replace(timestamp=1_790_000_999_000), b"", "invalid", ""))
    confirm(letters)
    Producer(options(cluster.bootstrap)).produce("t.dlq", b"whatever")
    found = survey(delivered(cluster.bootstrap))
    assert found.reasons() == {"decode": 2, "invalid": 1}
    assert found.repeats == 1


@pytest.mark.parametrize("keyed", [True, False])
def test_header_names_that_are_not_utf8_hurt_nobody(cluster: MockCluster, keyed: bool) -> None:
    for _ in range(100):  # Python calls what it calls often in another way
        assert headers_of(Message(headers=[("h", b"")])) == [("h", b"")]
    send_with_header(cluster, "t", b"\xff\xfe", b"hostile")
    got: list[Batch] = []
    own = {**options(cluster.bootstrap), "group.id": f"g{keyed}", "session.timeout.ms": 6000}
    with Source("t", own, "earliest", lambda partition, lost: None, keyed) as source:
        until = time.monotonic() + 20
        while not got and time.monotonic() < until:
            for address in source.due():
                source.open(address, 0)
            got += source.batches(10, 0.1)
    letters = Outgoing(options(cluster.bootstrap))
    letters.send(Letter.of(got[0], 0, POISON))
    confirm(letters)
    (letter,) = (read(message) for message in delivered(cluster.bootstrap))
    assert isinstance(letter, Letter)
    assert (letter.value, letter.original) == (b"hostile", ())


def test_what_is_not_delivered_again_gets_no_receipt(cluster: MockCluster) -> None:
    cluster.push_errors(Api.PRODUCE, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with Resend(options(cluster.bootstrap), "t", "t") as resend:
        resend.send(a_letter())
    assert (resend.sent, resend.unreceipted) == (1, 1)
    with pytest.raises(ResendError, match="1 were but have no receipt"):
        resend.check()
    cluster.push_errors(Api.PRODUCE, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with Resend(options(cluster.bootstrap), "t", "t") as resend:
        resend.send(a_letter())
    assert (resend.sent, resend.failed) == (0, 1)
    assert delivered(cluster.bootstrap) == []


def test_a_stored_topic_ends_where_it_ended_and_gaps_do_not_matter(cluster: MockCluster) -> None:
    producer = Producer(options(cluster.bootstrap))
    for i in range(9):
        producer.produce("t", b"%d" % i, partition=i % 2)
    producer.flush(10)
    cluster.delete_records("t", 0, 2)
    seen = []
    for message in stored(options(cluster.bootstrap), "t"):
        seen.append((message.partition(), message.value()))
        producer.produce("t", b"later", partition=0)
        producer.flush(10)
    assert sorted(seen) == [(0, b"4"), (0, b"6"), (0, b"8"), (1, b"1"), (1, b"3"), (1, b"5"), (1, b"7")]
    with pytest.raises(TopicUnreadable, match="nowhere"):
        list(stored(options(cluster.bootstrap), "nowhere"))


def test_a_missing_topic_is_no_reason_not_to_start() -> None:
    began = time.monotonic()
    assert not provide({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "t.dlq", seconds=0.5)
    assert time.monotonic() - began < 5


def test_on_a_real_kafka_the_topic_is_made_and_its_limits_hold(kafka: Kafka) -> None:
    own = options(kafka.bootstrap)
    topic = f"made-{time.time_ns()}"
    assert provide(own, topic + ".dlq")
    assert provide(own, topic + ".dlq")
    place = Place(topic, 0, 0, 0)
    letters = Outgoing(own)
    for size in (10, 12_000_000):  # this broker takes 10 MiB
        letters.send(Letter(place._replace(offset=size), bytes(size), "decode", ""))
    confirm(letters)
    found = survey(delivered(kafka.bootstrap, f"{topic}.dlq"))
    assert {entry.bytes: entry.omitted for entry in found.entries.values()} == {10: False, 12_000_000: True}
    assert {entry.at[0] for entry in found.entries.values()} == {0}
    consumer = Consumer({**own, "group.id": "unused"})
    assert consumer.get_watermark_offsets(TopicPartition(f"{topic}.dlq", 0), timeout=10) == (0, 2)
    consumer.close()


def send_with_header(cluster: MockCluster, topic: str, name: bytes, value: bytes) -> None:
    """A message with a header whose name is any bytes: Python's client can't send it, others can."""
    library = cluster._library  # noqa: SLF001
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    signatures = {
        "headers_new": (pointer, [size]),
        "header_add": (ctypes.c_int, [pointer, text, ctypes.c_ssize_t, text, ctypes.c_ssize_t]),
        "flush": (ctypes.c_int, [pointer, ctypes.c_int]),
    }
    for function, (result, arguments) in signatures.items():
        getattr(library, f"rd_kafka_{function}").restype = result
        getattr(library, f"rd_kafka_{function}").argtypes = arguments
    library.rd_kafka_producev.restype = ctypes.c_int
    conf, problem = library.rd_kafka_conf_new(), ctypes.create_string_buffer(512)
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", cluster.bootstrap.encode(), problem, len(problem))
    producer = library.rd_kafka_new(0, conf, problem, len(problem))
    headers = library.rd_kafka_headers_new(1)
    library.rd_kafka_header_add(headers, name, len(name), b"x", 1)
    # Pairs of a kind (rd_kafka_vtype_t) and what belongs to it: 1 topic, 3 partition, 4 value, 10 headers, 7 copy.
    given: list[object] = [1, text(topic.encode()), 3, 0, 4, text(value), size(len(value)), 10, pointer(headers), 7, 2]
    plain = [ctypes.c_int(one) if isinstance(one, int) else one for one in [*given, 0]]
    assert library.rd_kafka_producev(pointer(producer), *plain) == 0
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)
