"""A topic in memory, and a worker that notes every score it emits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import redis
from prometheus_client import CollectorRegistry

from skimstream.cli.models import load_model
from skimstream.consumer.address import Address
from skimstream.consumer.alert import Announcement
from skimstream.consumer.batch import Batch
from skimstream.consumer.board import Board
from skimstream.consumer.letter import Letter
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.outgoing import Parcel
from skimstream.consumer.partition import Featured, Partition
from skimstream.consumer.place import End
from skimstream.consumer.streams.base import Stream
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.work import Work
from skimstream.consumer.worker import Worker
from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.decode import Decoder
from skimstream.scoring.ensemble import Scores
from skimstream.scoring.halfspace import HalfSpaceTrees
from skimstream.scoring.model import Model

Message = bytes | None


@dataclass
class Topic:
    """Messages by partition; `low` is the first offset still there, by partition."""

    partitions: dict[int, list[Message]]
    low: dict[int, int] = field(default_factory=dict)

    @property
    def ends(self) -> dict[int, int]:
        """The next offset, by partition."""
        return {number: len(messages) for number, messages in self.partitions.items()}


class Listed:
    """A consumer of a `Topic` that is given all partitions; satisfies `worker.Batches`."""

    topic: str = "t"

    def __init__(self, topic: Topic, sizes: Iterable[int], start: End = "earliest") -> None:
        self.held, self.start = topic, start
        self.sizes = iter(sizes)
        self.waiting, self.astray = set(topic.partitions), set[int]()
        self.positions: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self.idled = 0

    @property
    def done(self) -> bool:
        """Whether everything was read."""
        return not self.waiting and not self.astray and self.positions == self.held.ends

    def due(self) -> list[Address]:
        return [self.address(number) for number in sorted(self.waiting | self.astray)]

    def address(self, number: int) -> Address:
        return Address(self.topic, number)

    def batches(self, size: int, seconds: float) -> list[Batch]:
        found = []
        for number, at in list(self.positions.items()):
            values = self.held.partitions[number][at : at + next(self.sizes)]
            if at < self.held.low.get(number, 0):
                self.astray.add(number)
            elif values:
                offsets = list(range(at, at + len(values)))
                self.positions[number] = at + len(values)
                found.append(
                    Batch(self.address(number), at, at + len(values), offsets, values, [1_000 + at] * len(values))
                )
        return found

    def range(self, address: Address) -> tuple[int, int]:
        return self.held.low.get(address.number, 0), len(self.held.partitions[address.number])

    def beginning(self, address: Address, low: int, high: int) -> int:
        return low if self.start == "earliest" else high

    def partition_count(self, topic: str) -> int:
        return len(self.held.partitions)

    def open(self, address: Address, offset: int) -> None:
        self.waiting.discard(address.number)
        self.astray.discard(address.number)
        self.positions[address.number] = offset

    def close(self, address: Address) -> None:
        self.positions.pop(address.number, None)
        self.waiting.add(address.number)

    def idle(self, seconds: float) -> None:
        self.idled += 1

    def go_on(self) -> None:
        pass

    def commit(self, positions: Mapping[Address, int]) -> None:
        self.committed.update({one.number: offset for one, offset in positions.items()})

    def lag(self) -> dict[Address, int]:
        return {self.address(one): len(self.held.partitions[one]) - at for one, at in self.positions.items()}


class Letters:
    """Dead letters as they were sent, and as offset, bytes, reason; and alerts."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Message, str]] = []
        self.parcels: list[Letter] = []
        self.announced: list[Announcement] = []
        self.confirmed = 0

    def send(self, parcel: Parcel) -> None:
        if isinstance(parcel, Letter):
            self.parcels.append(parcel)
            self.sent.append((parcel.place.offset, parcel.value, parcel.reason))
        elif isinstance(parcel, Announcement):
            self.announced.append(parcel)

    def confirm(self) -> None:
        self.confirmed = len(self.sent)


class Recorder(Worker):
    """Notes the score of every event that it emits, by partition and offset, before it is committed."""

    emitted: list[tuple[int, int, bytes]]

    def learn(self, partition: Partition, work: Work) -> tuple[Featured, Scores]:
        """As `Worker.learn`."""
        featured, scores = super().learn(partition, work)
        if work.batch.first >= partition.fence.offset:
            offsets = np.array(work.batch.offsets, np.int64)[work.index[featured.rows]]
            self.note(work.batch.address.number, offsets.tolist(), scores.score)
        return featured, scores

    def note(self, partition: int, offsets: Sequence[int], scores: Any) -> None:
        """In memory."""
        self.emitted += [(partition, offset, one.tobytes()) for offset, one in zip(offsets, scores, strict=True)]


@cache
def model_of(stream: str) -> Model:
    """The shipped model of a stream."""
    return load_model(stream, None)


def with_other_trees(model: Model, seed: int) -> Model:
    """A model of the same features that scores otherwise."""
    return replace(model, halfspace=HalfSpaceTrees.build(model.features, window_size=50, seed=seed))


def recorder(
    store: redis.Redis,
    name: str = "behaviour",
    stream: Stream | None = None,
    kept: int = 200,
    model: Model | None = None,
    **options: Any,
) -> Recorder:
    """A worker on the board `name`, with the shipped model if no other is given; `emitted` is empty."""
    stream = stream or Behaviour()
    metrics = Metrics(CollectorRegistry(), stream.name, stream.unscored_reasons)
    decoder = Decoder(stream.wanted, stream.framing, stream.schema())
    options = {"clock": lambda: 1.0, "checkpoint_seconds": 0.0, **options}
    model, board = model or model_of(stream.name), Board(store, name, kept)
    worker = Recorder(stream, model, board, Letters(), metrics, decoder, **options)
    worker.emitted = []
    return worker


def sessions(count: int, users: int = 50, seed: int = 3) -> list[bytes]:
    """Behavioural events, encoded."""
    schema, start = load("behaviour"), datetime(2026, 11, 21, tzinfo=UTC)
    return [plain(one.record, schema) for one in simulate_sessions(seed, start, count, users=users, anomaly_rate=0.05)]


#: What may: when a worker was heard, and the changes of lists, which go by as they come.
PASSING = ("workers", "log", "thresholds")


def learned(store: redis.Redis, name: str) -> dict[str, Any]:
    """All in Redis that must not depend on how a stream was run: boards, offsets; models and entities as saved."""
    found: dict[str, Any] = {}
    prefix = f"skim:{{{name}}}:"
    for one in sorted(store.scan_iter(match=prefix.replace("[", "\\[") + "*")):
        kind, short = store.type(one), one.decode().removeprefix(prefix)
        if short in PASSING:
            continue
        if kind == b"zset":
            found[short] = store.zrange(one, 0, -1, withscores=True)
        elif kind == b"hash":
            found[short] = store.hgetall(one)
        elif kind == b"stream":
            found[short] = store.xrange(one)
        else:
            found[short] = store.get(one)
    return found
