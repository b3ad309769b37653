"""The source: a Kafka topic as batches, one a partition, in offset order. Where to go on is told from outside.

Partitions that come are not read until they are opened: callbacks of a rebalance only take note, so that nothing slow
(Redis, recovery) ever happens inside one. While idle nothing is read, but the consumer is polled on, and so keeps its
place in the group.

Reading begins with `incremental_assign` and ends with `incremental_unassign`, never with pause and resume: librdkafka
(2.16) drops what it has fetched of a partition when that is resumed before any of it was consumed, and says nothing.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import compress, repeat
from operator import is_not, itemgetter, methodcaller, not_
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..schemas.errors import SkimError
from .batch import Batch, headers_of, partition_name
from .patience import Unavailable
from .place import Moment, Place, PlaceError

WATERMARK_SECONDS = 10.0
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
_error, _partition, _offset, _value, _timestamp, _key = map(
    methodcaller, ("error", "partition", "offset", "value", "timestamp", "key")
)


class SourceError(SkimError):
    """Kafka refuses to go on, and waiting won't help."""

    def __init__(self, topic: str, error: KafkaError) -> None:
        super().__init__(f"topic {topic}: {error.str()}")
        self.topic = topic
        self.code = error.code()


class Source:
    """A consumer of one topic in one group; use as a context manager.

    `dropped(partition, lost)` is called when a partition goes to another worker; if it isn't lost already, there is
    time for a last word about it. `keyed`: batches bring all keys and headers along.
    """

    def __init__(
        self,
        topic: str,
        options: Mapping[str, Any],
        start: Place,
        dropped: Callable[[int, bool], None],
        keyed: bool = False,
    ) -> None:
        self.topic = topic
        self.start = start
        self.dropped = dropped
        self.keyed = keyed
        self.positions: dict[int, int] = {}  # of the partitions that are open
        self.waiting: set[int] = set()  # those that came and aren't open yet
        self.astray: set[int] = set()  # those whose position the topic no longer has
        self.reading: set[int] = set()  # those that the consumer fetches
        self.ends: dict[int, int] = {}  # up to where there was nothing left: a transaction's last marker is no message
        self.through = False  # whether it has an end, and has come to it
        self.consumer = Consumer(consumer_options(options))

    def __enter__(self) -> "Source":
        self.consumer.subscribe([self.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def problem(self) -> str | None:
        """What keeps the topic from being read now, in words; None if nothing does."""
        try:
            found = self.consumer.list_topics(self.topic, timeout=WATERMARK_SECONDS).topics[self.topic]
        except KafkaException as error:
            return f"no broker answers ({error.args[0].str()}); see kafka.bootstrap"
        return f"topic {self.topic} is not there yet" if found.error is not None else None

    def batches(self, size: int, seconds: float) -> list[Batch]:
        """Up to `size` messages that came within `seconds`, one batch a partition. Raises `SourceError`."""
        messages = self.consumer.consume(size, seconds)
        told = list(map(is_not, map(_error, messages), repeat(None)))
        if any(told):
            for message in compress(messages, told):
                self._hear(message)
            messages = list(compress(messages, map(not_, told)))
        partitions = list(map(_partition, messages))
        found = ((p, list(compress(messages, map(p.__eq__, partitions)))) for p in dict.fromkeys(partitions))
        return [self._batch(p, theirs) for p, theirs in found if p in self.positions]

    def _hear(self, message: Message) -> None:
        """What comes in a message's place."""
        error, partition = cast(KafkaError, message.error()), cast(int, message.partition())
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self.ends[partition] = cast(int, message.offset())
        elif error.code() in OUT_OF_RANGE:
            if partition in self.positions:
                self.astray.add(partition)
        elif error.code() not in PASSING:
            raise SourceError(self.topic, error)

    def idle(self, seconds: float) -> None:
        """Let time pass without reading anything, but stay in the group: partitions may come and go meanwhile."""
        self._stop_reading(self.positions)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.batches(1, min(left, IDLE_SECONDS))  # gives nothing, serves rebalances

    def go_on(self) -> None:
        """Read again after `idle`."""
        for partition, position in list(self.positions.items()):
            self.open(partition, position)

    def range(self, partition: int) -> tuple[int, int]:
        """The first offset that the topic still has, and the next one that it will give out.

        Raises `Unavailable` while no broker answers, `SourceError` if waiting won't help.
        """
        try:
            marks = self.consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=WATERMARK_SECONDS
            )
        except KafkaException as error:
            raise self._failure(error.args[0]) from error
        return marks[0], marks[1]

    def beginning(self, partition: int, low: int, high: int) -> int:
        """Where `start` is in a partition that has low to high. Raises `PlaceError`, and as `range`."""
        if self.start == "earliest" or self.start == "latest":
            return low if self.start == "earliest" else high
        if isinstance(self.start, Moment):
            found = self.at(partition, self.start)
            return high if found is None else found
        name = partition_name(self.topic, partition)
        offset = self.start.of(name)
        if offset is None:
            return low  # made since the file was written, or begun by nobody then: nothing of it was read
        if not low <= offset <= high:
            raise PlaceError(name, f"{self.start.file} says {offset}, and the topic has {low} to {high}")
        return offset

    def at(self, partition: int, moment: Moment) -> int | None:
        """The first offset whose message is that late, None if there is none. Raises as `range`."""
        asked = [TopicPartition(self.topic, partition, moment.milliseconds)]
        try:
            (found,) = self.consumer.offsets_for_times(asked, timeout=WATERMARK_SECONDS)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error
        if found.error is not None:
            raise self._failure(found.error)
        return found.offset if found.offset >= 0 else None

    def partition_count(self) -> int:
        """How many partitions the topic has. Raises `Unavailable` while no broker answers."""
        try:
            found = self.consumer.list_topics(self.topic, timeout=WATERMARK_SECONDS).topics[self.topic]
        except KafkaException as error:
            raise Unavailable(f"topic {self.topic}: {error.args[0].str()}") from error
        return max(len(found.partitions), 1)

    def open(self, partition: int, offset: int) -> None:
        """Read a partition from `offset` on, whether it just came or is open already."""
        self.waiting.discard(partition)
        self.astray.discard(partition)
        self._stop_reading([partition])
        self.consumer.incremental_assign([TopicPartition(self.topic, partition, offset)])
        self.reading.add(partition)
        self.ends.pop(partition, None)
        self.positions[partition] = offset

    def close(self, partition: int) -> None:
        """Read no more of it, until it is opened again."""
        self._stop_reading([partition])
        self.positions.pop(partition, None)
        self.waiting.add(partition)

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tell Kafka how far we are: for lag tools only, never read back. Failure is harmless."""
        offsets = [TopicPartition(self.topic, partition, offset) for partition, offset in positions.items()]
        if offsets:
            self.consumer.commit(offsets=offsets, asynchronous=True)

    def lag(self) -> dict[int, int]:
        """Messages not yet read, by partition, from what the last fetch told (no request)."""
        lags = {}
        for partition, position in self.positions.items():
            marks = self.consumer.get_watermark_offsets(TopicPartition(self.topic, partition), cached=True)
            if marks and marks[1] >= 0:
                lags[partition] = max(0, marks[1] - max(position, self.ends.get(partition, 0)))
        return lags

    def _batch(self, partition: int, messages: list[Message]) -> Batch:
        first = self.positions[partition]
        offsets = list(map(_offset, messages))
        following = offsets[-1] + 1
        self.positions[partition] = following
        return Batch(
            self.topic,
            partition,
            first,
            following,
            offsets,
            list(map(_value, messages)),
            list(map(itemgetter(1), map(_timestamp, messages))),
            list(map(_key, messages)) if self.keyed else None,
            [headers_of(message) for message in messages] if self.keyed else None,
            messages,
        )

    def _failure(self, error: KafkaError) -> SkimError:
        return (
            Unavailable(f"topic {self.topic}: {error.str()}")
            if error.code() in PASSING
            else SourceError(self.topic, error)
        )

    def _stop_reading(self, partitions: Iterable[int]) -> None:
        ours = self.reading.intersection(partitions)
        self.consumer.incremental_unassign([TopicPartition(self.topic, partition) for partition in ours])
        self.reading -= ours

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign([])  # else the client would read them at once
        self.waiting.update(one.partition for one in partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions, lost=False)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions, lost=True)

    def _drop(self, partitions: list[TopicPartition], lost: bool) -> None:
        for one in partitions:
            self.waiting.discard(one.partition)
            self.astray.discard(one.partition)
            self.positions.pop(one.partition, None)
            self.dropped(one.partition, lost)
        self._stop_reading([one.partition for one in partitions])


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
        # 64 MB a partition by default; a batch needs far less, and memory should be ours to bound.
        "queued.max.messages.kbytes": 16_384,
        **given,
    }
