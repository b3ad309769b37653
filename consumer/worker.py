"""The worker: Kafka → decode → features → score → board, one partition's batch at a time.

The commit order; nothing else ever writes:
    1. dead letters are sent, and their delivery is confirmed;
    2. one Lua call puts the batch's rows and its offset on the board, or nothing if the offset isn't ours any more;
    3. (checkpoints of the partitions' state will stand here)
    4. Kafka hears the offset, for lag tools only; it is never read back.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import redis

from ..schemas.decode import Decoder
from ..schemas.errors import DecodeError
from ..scoring.model import Model
from .board import Board
from .deadletter import DeadLetterError
from .metrics import Metrics
from .partition import Partition
from .source import Batch
from .streams.base import Stream

log = logging.getLogger(__name__)

# Lag, memory and Kafka's copy of the offsets are told this often.
REPORT_SECONDS = 1.0


class Batches(Protocol):
    """What a worker needs of a source."""

    def batches(self, size: int, seconds: float) -> list[Batch]: ...
    def seek(self, partition: int, offset: int) -> None: ...
    def beginning(self, batch: Batch) -> int: ...
    def commit(self, positions: Mapping[int, int]) -> None: ...
    def lag(self) -> dict[int, int]: ...


class Letters(Protocol):
    """What a worker needs of the dead letters."""

    def send(
        self, topic: str, partition: int, offset: int, timestamp: int, value: bytes | None, error: DecodeError
    ) -> None: ...
    def confirm(self) -> None: ...


@dataclass
class Tally:
    """What became of every message: consumed = scored + all unscored + all dead."""

    consumed: int = 0
    scored: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)

    def add(self, group: dict[str, int], reason: str, count: int = 1) -> None:
        """Count `count` more of one reason."""
        if count:
            group[reason] = group.get(reason, 0) + count


class Worker:
    """Runs one stream. `clock` is for metrics alone; no score depends on it."""

    def __init__(
        self,
        stream: Stream,
        model: Model,
        board: Board,
        letters: Letters,
        metrics: Metrics,
        decoder: Decoder,
        clock: Callable[[], float] = time.time,
    ) -> None:
        model.require(stream.features)
        self.stream = stream
        self.model = model
        self.board = board
        self.letters = letters
        self.metrics = metrics
        self.clock = clock
        self.decoder = decoder
        self.partitions: dict[str, Partition] = {}
        self.tally = Tally()
        self.applied: dict[int, int] = {}  # told to Kafka again and again: a commit may fail in a rebalance
        self.read_until = 0.0  # when the last message read was produced, seconds since the epoch

    def begin(self, name: str, start: int) -> int:
        """A partition is ours: where it goes on, from the board. Called by the source on assignment."""
        self.board.forget_floors()
        self.partitions[name] = Partition(self.stream, self.model)
        self.metrics.rebalances.labels("assigned").inc()
        self.metrics.partitions.set(len(self.partitions))
        offset = self.board.begin(name, start)
        log.info("assigned", extra={"partition": name, "offset": offset})
        return offset

    def dropped(self, name: str, lost: bool) -> None:
        """A partition went to another worker; between batches, so there is nothing to finish."""
        self.partitions.pop(name, None)
        self.applied.pop(int(name.rpartition("/")[2]), None)
        self.metrics.rebalances.labels("lost" if lost else "revoked").inc()
        self.metrics.partitions.set(len(self.partitions))
        log.info("lost" if lost else "revoked", extra={"partition": name})

    def run(self, source: Batches, stopping: Callable[[], bool], size: int = 500, seconds: float = 0.1) -> None:
        """Take batches until `stopping()`; it is asked between batches, so a batch is never left half done."""
        reported = 0.0
        while not stopping():
            for batch in source.batches(size, seconds):
                if self.process(batch):
                    self.applied[batch.partition] = batch.following
                else:
                    self.restart(source, batch)
            if self.clock() - reported >= REPORT_SECONDS:
                reported = self.clock()
                self.report(source)
                source.commit(self.applied)
        source.commit(self.applied)

    def process(self, batch: Batch) -> bool:
        """One batch through all stages. False if the fence refused it: nothing of it was applied."""
        partition, metrics, stream = self.partitions[batch.name], self.metrics, self.stream.name
        tally = Tally(consumed=len(batch.values))

        with self._stage("decode"):
            decoded = self.decoder.decode(batch.values, batch.keys, batch.headers)
            columns, kept, faults = partition.check(decoded.columns)
            dead = [(one.index, one.error) for one in decoded.rejected]
            dead += [(int(decoded.index[row]), error) for row, error in faults]
            index = decoded.index[kept]
        with self._stage("features"):
            featured = partition.features(columns)
        with self._stage("score"):
            scores = partition.score(featured)
            rows = partition.rows(featured, scores, self.board)
        warming = int(np.isnan(scores.score).sum())
        with self._stage("commit"):
            self._bury(batch, sorted(dead, key=lambda one: one[0]), tally)
            with self._redis("commit"):
                committed = self.board.commit(batch.name, batch.first, batch.following, rows)
        if not committed.applied:
            metrics.stale.inc()
            log.warning("stale", extra={"partition": batch.name, "offset": batch.first, "stored": committed.stored})
            return False

        tally.scored = len(scores.score) - warming
        for reason, count in {**featured.unscored, "warming": warming}.items():
            tally.add(tally.unscored, reason, count)
        self._count(tally)
        metrics.consumed_bytes.labels(stream).inc(sum(map(len, filter(None, batch.values))))
        metrics.batch.observe(tally.consumed)
        metrics.observe_scores(scores.score)
        for feature in np.flatnonzero(scores.missing.any(axis=0)):
            name = self.stream.features[feature]
            metrics.missing.labels(stream, name).inc(int(scores.missing[:, feature].sum()))
        metrics.board_changes.labels(stream).inc(committed.changed)
        metrics.applied.labels(stream).set(self.clock())
        self.read_until = batch.timestamps[-1] / 1000.0
        metrics.latency.observe(self.clock() - np.array(batch.timestamps)[index] / 1000.0, stream)
        return True

    def restart(self, source: Batches, batch: Batch) -> None:
        """After a refused batch: the partition's memory has learned what wasn't applied, so begin anew at the fence.

        If Redis has come back empty, there is no fence: the topic is read from its beginning, as the board lost it all.
        """
        source.seek(batch.partition, self.begin(batch.name, source.beginning(batch)))

    def report(self, source: Batches) -> None:
        """Lag and memory, from time to time."""
        lags, stream = source.lag(), self.stream.name
        for number, lag in lags.items():
            self.metrics.lag.labels(stream, str(number)).set(lag)
        age = self.clock() - self.read_until if any(lags.values()) and self.read_until else 0.0
        self.metrics.lag_seconds.labels(stream).set(age)
        self.metrics.fallbacks.labels(stream).set(self.decoder.fallbacks)
        for partition in self.partitions.values():
            self.metrics.evicted.inc(partition.state.evicted - partition.evicted_told)
            partition.evicted_told = partition.state.evicted
        self.metrics.observe_state(partition.state for partition in self.partitions.values())

    def _bury(self, batch: Batch, dead: list[tuple[int, DecodeError]], tally: Tally) -> None:
        """Dead letters, delivered for certain before the offset may move."""
        if not dead:
            return
        counted = self.metrics.dead
        try:
            for i, error in dead:
                self.letters.send(
                    batch.topic, batch.partition, batch.offsets[i], batch.timestamps[i], batch.values[i], error
                )
                tally.add(tally.dead, error.reason)
            self.letters.confirm()
        except DeadLetterError:
            counted.labels(self.stream.name, "failed").inc(len(dead))
            raise
        counted.labels(self.stream.name, "delivered").inc(len(dead))
        first = dead[0][1]
        log.warning(
            "dead letters",
            extra={"partition": batch.name, "count": len(dead), "reason": first.reason, "detail": first.detail},
        )

    def _count(self, tally: Tally) -> None:
        stream, metrics = self.stream.name, self.metrics
        self.tally.consumed += tally.consumed
        self.tally.scored += tally.scored
        metrics.consumed.labels(stream).inc(tally.consumed)
        metrics.scored.labels(stream).inc(tally.scored)
        for reason, count in tally.unscored.items():
            self.tally.add(self.tally.unscored, reason, count)
            metrics.unscored.labels(stream, reason).inc(count)
        for reason, count in tally.dead.items():
            self.tally.add(self.tally.dead, reason, count)
            metrics.rejected.labels(stream, reason).inc(count)

    def _stage(self, name: str) -> AbstractContextManager[None]:
        return self.metrics.stage.labels(name).time()

    @contextmanager
    def _redis(self, operation: str) -> Iterator[None]:
        with self.metrics.redis_seconds.labels(operation).time():
            try:
                yield
            except redis.RedisError as error:
                self.metrics.redis_errors.labels(_kind(error)).inc()
                raise


def _kind(error: redis.RedisError) -> str:
    """A closed set of what goes wrong with Redis."""
    for kind, types in {
        "timeout": (redis.TimeoutError,),
        "connection": (redis.ConnectionError,),
        "response": (redis.ResponseError,),
    }.items():
        if isinstance(error, types):
            return kind
    return "other"
