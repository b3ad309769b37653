"""Where a stream stands in its topic: what the board says, which is the truth, beside what the topic holds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from ..schemas.errors import SkimError
from .address import Address
from .board import Heard, key, read_offsets, read_workers
from .config import Settings
from .configured import configured_stream
from .connection import translated
from .internal import rekeyed
from .run import group_options, kafka_options
from .topics import Single, Topics

ASK_SECONDS = 10.0


class LagError(SkimError):
    """Kafka can't be asked how far its topic is."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(f"topic {topic}: {problem}")
        self.topic = topic
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Stand:
    """How one partition stands. Offsets: the next to read, or to be written.

    offset: the board's, None before the first worker took the partition. low, high: the topic has those from low on,
    before high. copy: what Kafka's group was told, for other tools. learned: what the last checkpoint reflects.
    """

    partition: Address
    offset: int | None
    low: int
    high: int
    copy: int | None = None
    learned: int | None = None

    @property
    def lag(self) -> int | None:
        """Messages that the topic has and the board doesn't reflect; None if nobody has begun.

        >>> at = Address("alerts", 0)
        >>> Stand(at, 40, low=0, high=100).lag, Stand(at, 40, low=60, high=100).lag, Stand(at, None, 0, 9).lag
        (60, 40, None)
        """
        return None if self.offset is None else max(0, self.high - max(self.offset, self.low))

    @property
    def problem(self) -> str:
        """Why a worker couldn't go on there without losing anything; empty if it could.

        >>> at = Address("alerts", 0)
        >>> Stand(at, 40, low=60, high=100).problem
        '20 messages are gone (retention)'
        >>> Stand(at, 40, low=0, high=9).problem
        'beyond the end: was the topic made anew?'
        """
        if self.offset is None:
            return ""
        if self.offset > self.high:
            return "beyond the end: was the topic made anew?"
        if self.offset < self.low:
            return f"{self.low - self.offset:,} messages are gone (retention)"
        if self.learned is not None and self.learned < self.low:
            return "messages that its memory needs are gone (retention)"
        return ""


@dataclass(frozen=True, slots=True)
class Lag:
    """How a stream stands in its topic."""

    stream: str
    topic: str
    group: str
    stands: Sequence[Stand]
    workers: Heard

    @property
    def total(self) -> int:
        """Messages that the begun partitions have before them."""
        return sum(stand.lag or 0 for stand in self.stands)

    @property
    def untouched(self) -> int:
        """Messages in partitions that nobody has begun; `kafka.start` says how many of them will be read."""
        return sum(stand.high - stand.low for stand in self.stands if stand.offset is None)

    def to_json(self) -> dict[str, Any]:
        """The same as `skim lag --json` prints it; `skim run --from` takes it as a file of offsets."""
        return {
            "stream": self.stream,
            "topic": self.topic,
            "group": self.group,
            "lag": self.total,
            "not_begun": self.untouched,
            "workers": self.workers.alive,
            "partitions": [
                {"name": one.partition.name, **asdict(one), "partition": one.partition.number, "lag": one.lag}
                | {"problem": one.problem}
                for one in self.stands
            ],
        }


class Surveyor:
    """Asks Redis and Kafka how a stream stands; a context manager. It joins no group, and changes nothing."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        named = configured_stream(settings).name
        topics = settings.topics
        self.topics: Topics = Single(rekeyed(topics.name)) if settings.rekey else topics
        self.topic = self.topics.name
        self.board = settings.board.name or named
        self.client = client
        options = {**kafka_options(settings), **group_options(settings), "enable.auto.commit": False}
        self.group = str(options["group.id"])
        options.pop("group.instance.id", None)
        self.consumer = Consumer(options | {"allow.auto.create.topics": False})

    def __enter__(self) -> "Surveyor":
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def look(self) -> Lag:
        """How it stands now. Raises `LagError`, `redis.RedisError`."""
        offsets, checkpoints = read_offsets(self.client, self.board), self._checkpoints()
        try:
            copies, marks = self._ask()
        except KafkaException as error:
            reason = error.args[0]
            known = translated(reason.name(), reason.str())
            advice = f": {known.means}; {known.do}" if known else "; see kafka.bootstrap (--kafka), and that it runs"
            raise LagError(self.topic, reason.str() + advice) from error
        stands = []
        for one, (low, high) in sorted(marks.items()):
            stands.append(Stand(one, offsets.get(one.name), low, high, copies.get(one), checkpoints.get(one.name)))
        return Lag(self.board, self.topic, self.group, stands, read_workers(self.client, self.board))

    def _ask(self) -> tuple[dict[Address, int], dict[Address, tuple[int, int]]]:
        """By partition, what the group was told, and what the topic has."""
        addresses = [Address(name, number) for name in self.topics.now() for number in self._partitions_of(name)]
        if not addresses:
            names = " or ".join(self.topics.now())
            missing = names if names != self.topic else "it"
            raise LagError(self.topic, f"{missing} is not there, or may not be seen; name it with --topic")
        marks = {one: self.consumer.get_watermark_offsets(one.at(0), timeout=ASK_SECONDS) for one in addresses}
        told = self.consumer.committed([TopicPartition(*one) for one in addresses], timeout=ASK_SECONDS)
        return {Address(one.topic, one.partition): one.offset for one in told if one.offset >= 0}, marks

    def _partitions_of(self, topic: str) -> Collection[int]:
        """None if the topic isn't there: of a topic a night, one may be missing."""
        found = self.consumer.list_topics(topic, timeout=ASK_SECONDS).topics[topic]
        return () if found.error is not None else found.partitions

    def _checkpoints(self) -> dict[str, int]:
        """By `<topic>/<partition>`, up to where the last checkpoint reflects."""
        stored: Any = self.client.hgetall(key(self.board, "checkpoints"))
        told: Mapping[str, str] = {name.decode(): value.decode().partition(":")[0] for name, value in stored.items()}
        return {name: int(offset) for name, offset in told.items() if offset.isdigit()}
