"""The source: Kafka's topics as batches, one a partition, in offset order. Where to go on is told from outside.

Partitions that come are not read until they are opened: callbacks of a rebalance only take note, so that nothing slow
(Redis, recovery) ever happens inside one. While idle nothing is read, but the consumer is polled on, and so keeps its
place in the group.

Reading begins with `incremental_assign` and ends with `incremental_unassign`, never with pause and resume: librdkafka
(2.16) drops what it has fetched of a partition when that is resumed before any of it was consumed, and says nothing.

Of topics that come and go (`topics.Nightly`) those of now are subscribed to. One that isn't there yet is nothing to
wait for; nor is one whose brokers don't answer, as long as others can be read: it is asked again from time to time.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress, repeat
from operator import is_not, itemgetter, methodcaller, not_
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..schemas.errors import SkimError
from .address import Address
from .batch import Batch, headers_of
from .patience import Unavailable
from .place import Moment, Place, PlaceError
from .topics import Nightly, Single, Topics

# How long an answer is waited for; while other topics can be read, not so long.
WATERMARK_SECONDS, WATERMARK_SECONDS_BESIDE = 10.0, 2.0
# A topic that gives no answer is left alone for so long, twice as long each time.
LEFT_ALONE_SECONDS, LEFT_ALONE_SECONDS_AT_MOST = 10.0, 300.0
# While paused, Kafka is polled this often.
IDLE_SECONDS = 0.1

# Errors that mean "not now": brokers restart, tonight's topic isn't there yet. librdkafka retries by itself.
PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's own public names for local errors
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._PARTITION_EOF,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - one without a leader, too
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
OUT_OF_RANGE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - what librdkafka makes of it under auto.offset.reset=error
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)

# What is asked of every message, in loops that run in C: five calls of librdkafka's accessors, and no step in Python.
_error, _topic, _partition, _offset, _value, _timestamp, _key = map(
    methodcaller, ("error", "topic", "partition", "offset", "value", "timestamp", "key")
)


class SourceError(SkimError):
    """Kafka refuses to go on, and waiting won't help."""

    def __init__(self, topic: str, error: KafkaError) -> None:
        super().__init__(f"topic {topic}: {error.str()}")
        self.topic = topic
        self.code = error.code()


class Source:
    """A consumer of topics in one group; use as a context manager.

    `dropped(address, lost)` is called when a partition goes to another worker; if it isn't lost already, there is
    time for a last word about it. `keyed`: batches bring all keys and headers along. `subscribed(topics)` hears of the
    topics at the start, and whenever they change. `clock` counts seconds, monotonic.
    """

    def __init__(
        self,
        topics: Topics | str,
        options: Mapping[str, Any],
        start: Place,
        dropped: Callable[[Address, bool], None],
        keyed: bool = False,
        subscribed: Callable[[Sequence[str]], None] = lambda topics: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topics = Single(topics) if isinstance(topics, str) else topics
        self.start = start
        if isinstance(topics, Nightly) and start == "latest":  # of topics to come, that is everything
            self.start = Moment(round(1_000 * topics.clock()))
        self.dropped = dropped
        self.keyed = keyed
        self.subscribed = subscribed
        self.clock = clock
        self.names: tuple[str, ...] = ()  # the topics that are subscribed to
        self.positions: dict[Address, int] = {}  # of the partitions that are open
        self.waiting: set[Address] = set()  # those that came and aren't open yet
        self.astray: set[Address] = set()  # those whose position the topic no longer has
        self.reading: set[Address] = set()  # those that the consumer fetches
        self.ends: dict[Address, int] = {}  # where nothing was left: a transaction's last marker is no message
        self.alone: dict[str, tuple[float, float]] = {}  # topics that gave no answer: until when, for how long
        self.through = False  # whether it has an end, and has come to it
        self.consumer = Consumer(consumer_options(options))

    def __enter__(self) -> "Source":
        self._subscribe()
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def problem(self) -> str | None:
        """What keeps all topics from being read now, in words; None if nothing does."""
        try:
            missing = [name for name in self.topics.now() if self._partitions_of(name) is None]
        except Unavailable as error:
            return f"no broker answers ({error}); see kafka.bootstrap"
        there = len(missing) < len(self.topics.now())
        return None if there else f"topic {' or '.join(sorted(missing))} is not there yet"

    def due(self) -> list[Address]:
        """Partitions that are to be opened now, those of the latest topic first."""
        now = self.clock()
        unopened = (one for one in self.waiting | self.astray if self.alone.get(one.topic, (now, 0.0))[0] <= now)
        return sorted(unopened, key=lambda one: (self._age(one.topic), one))

    def batches(self, size: int, seconds: float) -> list[Batch]:
        """Up to `size` messages that came within `seconds`, one batch a partition. Raises `SourceError`."""
        if self.topics.now() != self.names:
            self._subscribe()
        messages = self.consumer.consume(size, seconds)
        told = list(map(is_not, map(_error, messages), repeat(None)))
        if any(told):
            for message in compress(messages, told):
                self._hear(message)
            messages = list(compress(messages, map(not_, told)))
        # Of a single topic nobody needs to ask each message which it is of.
        topics = repeat(self.topics.name) if isinstance(self.topics, Single) else map(_topic, messages)
        places = list(zip(topics, map(_partition, messages), strict=False))
        found = ((Address(*one), list(compress(messages, map(one.__eq__, places)))) for one in dict.fromkeys(places))
        return [self._batch(one, theirs) for one, theirs in found if one in self.positions]

    def _hear(self, message: Message) -> None:
        """What comes in a message's place."""
        error = cast(KafkaError, message.error())
        address = Address(cast(str, message.topic()), cast(int, message.partition()))
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self.ends[address] = cast(int, message.offset())
        elif error.code() in OUT_OF_RANGE:
            if address in self.positions:
                self.astray.add(address)
        elif error.code() not in PASSING:
            raise SourceError(address.topic, error)

    def idle(self, seconds: float) -> None:
        """Let time pass without reading anything, but stay in the group: partitions may come and go meanwhile."""
        self._stop_reading(self.positions)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.batches(1, min(left, IDLE_SECONDS))  # gives nothing, serves rebalances

    def go_on(self) -> None:
        """Read again after `idle`."""
        for address, position in list(self.positions.items()):
            self.open(address, position)

    def range(self, address: Address) -> tuple[int, int]:
        """The first offset that the topic still has, and the next one that it will give out.

        Raises `Unavailable` while no broker answers, `SourceError` if waiting won't help.
        """
        others = any(one.topic != address.topic for one in self.positions)
        try:
            marks = self.consumer.get_watermark_offsets(
                address.at(0), timeout=WATERMARK_SECONDS_BESIDE if others else WATERMARK_SECONDS
            )
        except KafkaException as error:
            if others:
                self._leave_alone(address.topic)
            raise self._failure(address.topic, error.args[0]) from error
        self.alone.pop(address.topic, None)
        return marks[0], marks[1]

    def beginning(self, address: Address, low: int, high: int) -> int:
        """Where `start` is in a partition that has low to high. Raises `PlaceError`, and as `range`."""
        if self.start == "earliest" or self.start == "latest":
            return low if self.start == "earliest" else high
        if isinstance(self.start, Moment):
            found = self.at(address, self.start)
            return high if found is None else found
        offset = self.start.of(address.name, among_others=isinstance(self.topics, Nightly))
        if offset is None:
            return low  # made since the file was written, or begun by nobody then: nothing of it was read
        if not low <= offset <= high:
            raise PlaceError(address.name, f"{self.start.file} says {offset}, and the topic has {low} to {high}")
        return offset

    def at(self, address: Address, moment: Moment) -> int | None:
        """The first offset whose message is that late, None if there is none. Raises as `range`."""
        try:
            (found,) = self.consumer.offsets_for_times([address.at(moment.milliseconds)], timeout=WATERMARK_SECONDS)
        except KafkaException as error:
            raise self._failure(address.topic, error.args[0]) from error
        if found.error is not None:
            raise self._failure(address.topic, found.error)
        return found.offset if found.offset >= 0 else None

    def partition_count(self, topic: str) -> int:
        """How many partitions a topic has, 1 if it isn't there. Raises `Unavailable` while no broker answers."""
        return len(self._partitions_of(topic) or (0,))

    def partitions(self) -> list[Address]:
        """Those of all topics that are there. Raises `Unavailable` while no broker answers."""
        return [Address(name, one) for name in self.topics.now() for one in self._partitions_of(name) or ()]

    def open(self, address: Address, offset: int) -> None:
        """Read a partition from `offset` on, whether it just came or is open already."""
        self.waiting.discard(address)
        self.astray.discard(address)
        self._stop_reading([address])
        self.consumer.incremental_assign([address.at(offset)])
        self.reading.add(address)
        self.ends.pop(address, None)
        self.positions[address] = offset

    def close(self, address: Address) -> None:
        """Read no more of it, until it is opened again."""
        self._stop_reading([address])
        self.positions.pop(address, None)
        self.waiting.add(address)

    def commit(self, positions: Mapping[Address, int]) -> None:
        """Tell Kafka how far we are: for lag tools only, never read back. Failure is harmless."""
        offsets = [address.at(offset) for address, offset in positions.items()]
        if offsets:
            self.consumer.commit(offsets=offsets, asynchronous=True)

    def lag(self) -> dict[Address, int]:
        """Messages not yet read, by partition, from what the last fetch told (no request)."""
        lags = {}
        for address, position in self.positions.items():
            marks = self.consumer.get_watermark_offsets(address.at(0), cached=True)
            if marks and marks[1] >= 0:
                lags[address] = max(0, marks[1] - max(position, self.ends.get(address, 0)))
        return lags

    def _subscribe(self) -> None:
        self.names = self.topics.now()
        self.consumer.subscribe(list(self.names), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        self.subscribed(self.names)

    def _age(self, topic: str) -> int:
        """0 for the latest topic; those that are not subscribed to any more come last."""
        return self.names.index(topic) if topic in self.names else len(self.names)

    def _leave_alone(self, topic: str) -> None:
        _, before = self.alone.get(topic, (0.0, LEFT_ALONE_SECONDS / 2))
        seconds = min(2 * before, LEFT_ALONE_SECONDS_AT_MOST)
        self.alone[topic] = (self.clock() + seconds, seconds)

    def _partitions_of(self, topic: str) -> list[int] | None:
        """Their numbers; None if the topic isn't there. Raises `Unavailable` while no broker answers."""
        try:
            found = self.consumer.list_topics(topic, timeout=WATERMARK_SECONDS).topics[topic]
        except KafkaException as error:
            raise Unavailable(f"topic {topic}: {error.args[0].str()}") from error
        return None if found.error is not None else sorted(found.partitions)

    def _batch(self, address: Address, messages: list[Message]) -> Batch:
        first = self.positions[address]
        offsets = list(map(_offset, messages))
        following = offsets[-1] + 1
        self.positions[address] = following
        return Batch(
            address,
            first,
            following,
            offsets,
            list(map(_value, messages)),
            list(map(itemgetter(1), map(_timestamp, messages))),
            list(map(_key, messages)) if self.keyed else None,
            [headers_of(message) for message in messages] if self.keyed else None,
            messages,
        )

    def _failure(self, topic: str, error: KafkaError) -> SkimError:
        return Unavailable(f"topic {topic}: {error.str()}") if error.code() in PASSING else SourceError(topic, error)

    def _stop_reading(self, addresses: Iterable[Address]) -> None:
        ours = self.reading.intersection(addresses)
        self.consumer.incremental_unassign([TopicPartition(*one) for one in ours])
        self.reading -= ours

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign([])  # else the client would read them at once
        self.waiting.update(Address(one.topic, one.partition) for one in partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions, lost=False)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions, lost=True)

    def _drop(self, partitions: list[TopicPartition], lost: bool) -> None:
        addresses = [Address(one.topic, one.partition) for one in partitions]
        for address in addresses:
            self.waiting.discard(address)
            self.astray.discard(address)
            self.positions.pop(address, None)
            self.dropped(address, lost)
        self._stop_reading(addresses)


def consumer_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """librdkafka's options: ours, then the user's own, which win."""
    classic = {
        "partition.assignment.strategy": "cooperative-sticky",
        # A dead worker's partitions move after ten seconds; librdkafka's own default is 45.
        "session.timeout.ms": 10_000,
    }
    return {
        # KIP-848's broker chooses both.
        **(classic if given.get("group.protocol", "classic") == "classic" else {}),
        # Offsets live in Redis beside the results; Kafka gets a copy for lag tools only.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # An offset that retention has removed is an error to be heard of, never a silent jump.
        "auto.offset.reset": "error",
        # The end of a partition is told, since markers of transactions may stand after its last message.
        "enable.partition.eof": True,
        # A topic that is made later is seen after so long; librdkafka's own default is five minutes.
        "topic.metadata.refresh.interval.ms": 30_000,
        # 64 MB a partition by default; a batch needs far less, and memory should be ours to bound.
        "queued.max.messages.kbytes": 16_384,
        # So long nothing is fetched once that is full; librdkafka's own second is as long as 1,000 alerts take.
        "fetch.queue.backoff.ms": 20,
        **given,
    }
