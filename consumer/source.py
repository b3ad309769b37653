"""The source: a Kafka topic as batches, one a partition, in offset order. Where to go on is told from outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..schemas.decode import Headers
from ..schemas.errors import SkimError

Start = Literal["earliest", "latest"]
WATERMARK_SECONDS = 10.0

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


class SourceError(SkimError):
    """Kafka refuses to go on, and waiting won't help."""

    def __init__(self, topic: str, error: KafkaError) -> None:
        hint = (
            "; the offset stored in Redis is no longer in the topic (retention removed it): events are lost. "
            "Delete the partition's field in skim:{stream}:offsets to go on from the configured start"
            if error.code() == KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
            else ""
        )
        super().__init__(f"topic {topic}: {error.str()}{hint}")
        self.topic = topic
        self.code = error.code()


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive messages of one partition. `first` is where the reader stood before, `following` where it stands now.

    Both may differ from the messages' own offsets by gaps (compaction, transaction markers). timestamps: Kafka's, ms.
    """

    topic: str
    partition: int
    first: int
    following: int
    offsets: list[int]
    values: list[bytes | None]
    timestamps: list[int]
    keys: list[bytes | None] | None = None
    headers: list[Headers | None] | None = None

    @property
    def name(self) -> str:
        """`<topic>/<partition>`, as the board knows it."""
        return partition_name(self.topic, self.partition)


def partition_name(topic: str, partition: int) -> str:
    """`<topic>/<partition>`."""
    return f"{topic}/{partition}"


class Source:
    """A consumer of one topic in one group; use as a context manager.

    begin(name, start) is called for each partition on assignment and answers the offset to read from; `start` is the
    topic's first (or next) offset, as configured. dropped(name) is called when a partition goes to another worker.
    """

    def __init__(
        self,
        topic: str,
        options: Mapping[str, Any],
        start: Start,
        begin: Callable[[str, int], int],
        dropped: Callable[[str, bool], None],
        keyed: bool = False,
    ) -> None:
        self.topic = topic
        self.start = start
        self.begin = begin
        self.dropped = dropped
        self.keyed = keyed  # batches bring keys and headers along
        self.positions: dict[int, int] = {}
        self.consumer = Consumer(
            {
                "partition.assignment.strategy": "cooperative-sticky",
                # Offsets live in Redis beside the results; Kafka gets a copy for lag tools only.
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # An offset that retention has removed is an error to be heard of, never a silent jump.
                "auto.offset.reset": "error",
                # A dead worker's partitions move after ten seconds; librdkafka's own default is 45.
                "session.timeout.ms": 10_000,
                # 64 MB a partition by default; a batch needs far less, and memory should be ours to bound.
                "queued.max.messages.kbytes": 16_384,
                **options,
            }
        )

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
        by_partition: dict[int, list[Message]] = {}
        for message in self.consumer.consume(size, seconds):
            error = message.error()
            if error is None:
                by_partition.setdefault(message.partition() or 0, []).append(message)
            elif error.code() not in PASSING:
                raise SourceError(self.topic, error)
        return [self._batch(p, messages) for p, messages in by_partition.items() if p in self.positions]

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        self.consumer.seek(TopicPartition(self.topic, partition, offset))
        self.positions[partition] = offset

    def beginning(self, batch: Batch) -> int:
        """Where a partition begins that the board knows nothing of (any more), as configured."""
        if self.start == "latest":
            return batch.first
        low, _ = self._watermarks(self.consumer, TopicPartition(batch.topic, batch.partition))
        return low

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
                lags[partition] = max(0, marks[1] - position)
        return lags

    def _batch(self, partition: int, messages: list[Message]) -> Batch:
        offsets = [message.offset() or 0 for message in messages]
        first, following = self.positions[partition], offsets[-1] + 1
        self.positions[partition] = following
        return Batch(
            self.topic,
            partition,
            first,
            following,
            offsets,
            [message.value() for message in messages],
            [message.timestamp()[1] for message in messages],
            [message.key() for message in messages] if self.keyed else None,
            cast(list[Headers | None], [message.headers() for message in messages]) if self.keyed else None,
        )

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            low, high = self._watermarks(consumer, one)
            name = partition_name(self.topic, one.partition)
            one.offset = self.begin(name, low if self.start == "earliest" else high)
            self.positions[one.partition] = one.offset
        consumer.incremental_assign(partitions)

    def _watermarks(self, consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
        """The first offset that the topic still has, and the next one that it will give out."""
        try:
            marks = consumer.get_watermark_offsets(partition, timeout=WATERMARK_SECONDS)
        except KafkaException as error:
            raise SourceError(self.topic, error.args[0]) from error
        return marks[0], marks[1]

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions, lost=False)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._drop(partitions, lost=True)

    def _drop(self, partitions: list[TopicPartition], lost: bool) -> None:
        for one in partitions:
            self.positions.pop(one.partition, None)
            self.dropped(partition_name(self.topic, one.partition), lost)
