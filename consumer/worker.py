"""The worker: Kafka → decode → features → score → board, one partition's batch at a time.

The commit order; nothing else ever writes:
    1. dead letters and alerts are sent, and their delivery is confirmed;
    2. one Lua call puts the batch's rows and its offset on the board, or nothing if the fence isn't ours any more;
    3. from time to time a checkpoint: what the partition has learned, and the offset that this reflects;
    4. Kafka hears the offset, for lag tools only; it is never read back.
On assignment the last checkpoint is restored, and what lies between it and the fence is learned again, not emitted.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import numpy as np
import redis

from ..schemas.decode import Decoder
from ..schemas.errors import SkimError
from ..schemas.registry import RegistryUnavailable
from ..scoring.ensemble import Scores
from ..scoring.model import Model
from .address import Address
from .alert import Alert
from .batch import Batch
from .board import Board, Row
from .bundles import Bundles
from .checkpoint import Checkpoints
from .chosen import Chosen
from .distribution import counts_of
from .fence import Stale
from .heartbeat import Heartbeat
from .inflight import SUSPICIOUS_DEATHS, Inflight
from .letter import DeadLetterError, Letter
from .memory import Memory
from .metrics import Metrics
from .opening import LostOffsets, settle
from .pace import Pace
from .partition import Featured, Partition
from .patience import Interrupted, Patience, Unavailable, kind_of, later
from .pulse import Pulse
from .rows import rows_of
from .rule_fields import doubts
from .streams.base import Stream
from .tally import Tally, account
from .watch import Watch, nothing
from .watchdog import Watchdog
from .work import Batches, Post, Work

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# Lag, memory and Kafka's copy of the offsets are told this often.
REPORT_SECONDS = 1.0
# A rebalance takes many partitions at once and has a deadline: where Redis didn't answer for one, the others don't ask.
HUSHED_SECONDS = 5.0


class Worker:
    """Runs one stream. `clock` is for metrics and the time between checkpoints; no score depends on it.

    `model` scores until another one is activated. `probe(batch)` answers which offsets are known to end a process.
    watch: which events are told, and where. box: whose dead letters they are, if not each topic's own.
    `reached(point)` is called after each step of the commit order, for tests that end the process there.
    """

    def __init__(
        self,
        stream: Stream,
        model: Model,
        board: Board,
        letters: Post,
        metrics: Metrics,
        decoder: Decoder,
        clock: Callable[[], float] = time.time,
        checkpoint_seconds: float = 10.0,
        lost_offsets: LostOffsets = "stop",
        watchdog: Watchdog | None = None,
        probe: Callable[[Batch], frozenset[int]] = lambda batch: frozenset(),
        reached: Callable[[str], None] = lambda point: None,
        watch: Watch | None = None,
        box: str = "",
    ) -> None:
        self.stream = stream
        self.board = board
        self.letters = letters
        self.metrics = metrics
        self.decoder = decoder
        self.clock = clock
        self.checkpoint_seconds = checkpoint_seconds
        self.lost_offsets: LostOffsets = lost_offsets
        self.watchdog = watchdog or Watchdog()
        self.probe = probe
        self.reached = reached
        self.watch = watch or nothing(stream.name)
        self.box = box
        self.checkpoints = Checkpoints(board.client, board.stream)
        self.inflight = Inflight(board.client, board.stream)
        self.memory = Memory(self.checkpoints, clock)
        self.pulse = Pulse(board.client, board.stream)
        self.heartbeat = Heartbeat(0)
        self.chosen = Chosen(model, stream, Bundles(board.client, board.stream), metrics)
        self.patience: Patience | None = None
        self.stopping: Callable[[], bool] = lambda: False
        self.partitions: dict[Address, Partition] = {}
        self.tally = Tally()
        self.relearned = 0
        self.crashed = False
        self.unsaved = set[str]()  # partitions that went without a last checkpoint as the worker stopped
        self.hushed_until = 0.0  # until then partitions go without a last checkpoint
        self.applied: dict[Address, int] = {}  # told to Kafka again and again: a commit may fail in a rebalance
        self.read_until = 0.0  # when the last message read was produced, seconds since the epoch

    def run(
        self, source: Batches, stopping: Callable[[], bool], size: int = 500, seconds: float = 0.1, most: int = 0
    ) -> None:
        """Take batches until `stopping()`; it is asked between batches, and in outages. The numbers: see `Pace`."""
        self.stopping = stopping
        try:
            self._run(source, Pace(size, seconds, most))
        except SkimError:
            raise
        except BaseException:
            self.crashed = True  # the mark of what was in flight must stay, as if the process had been killed
            raise

    def _run(self, source: Batches, pace: Pace) -> None:
        self.doubt()
        self.patience = Patience(source.idle, self._trouble, lambda: self._over(source))
        reported = 0.0
        while not self.stopping():
            try:
                for address in source.due():
                    with self._fenced(source, address):
                        self.open(source, address)
                batches, began = source.batches(pace.size, pace.seconds), time.perf_counter()
                for batch in batches:
                    with self._fenced(source, batch.address):
                        self.take(batch)
                pace.took(batches, time.perf_counter() - began)
                for address, partition in list(self.partitions.items()):
                    with self._fenced(source, address):
                        self.save_if_due(partition)
            except Interrupted as reason:
                log.warning("left undone", extra={"reason": str(reason)})
                if self.stopping():
                    break  # what doesn't answer isn't asked for anything else
            if self.clock() - reported >= REPORT_SECONDS:
                reported = self.clock()
                self.report(source)
                self.pulse.beat(self.partitions.values())
                self.verify(source)
                self.follow(source)
                self.heed(source)
                source.commit(self.applied)
                self.reached("told")
        source.commit(self.applied)

    def open(self, source: Batches, address: Address) -> None:
        """A partition is ours: restore what it has learned, and read on from there."""
        name = address.name

        def awaited() -> bool:
            return address in source.due()

        def restored() -> Partition:
            low, high = source.range(address)
            with self._redis("begin"):
                self.chosen.ask()
                model, shadow = self.chosen.model, self.chosen.shadow
                known = self.checkpoints.knows(name)
                start = low if known else source.beginning(address, low, high)
                begun = self.checkpoints.begin(name, start, model.id)
                partition = Partition(address, self.stream, model, begun, shadow)
                self.memory.restore(partition)
                partition.heed(self.watch.rulebook.book.rules, self.sharing(source, address.topic))
                if settle(partition, low, high, self.lost_offsets, self.board):
                    self.metrics.out_of_range.labels(self.stream.name).inc()
                    self.memory.save(partition)
            return partition

        partition = self._insist(restored, awaited)
        self.board.forget_lists()  # Redis may have gone back in time, and its lists with it
        self.partitions[address] = partition
        self._renew(partition)
        source.open(address, partition.learned)
        self.metrics.rebalances.labels("assigned").inc()
        self.metrics.partitions.set(len(self.partitions))
        log.info(
            "assigned",
            extra={"partition": name, "offset": partition.fence.offset, "learned": partition.learned},
        )
        self.reached("opened")

    def dropped(self, address: Address, lost: bool) -> None:
        """A partition goes to another worker. If it isn't lost yet, what it has learned is saved for the next owner."""
        partition = self.partitions.pop(address, None)
        self.applied.pop(address, None)
        self.metrics.rebalances.labels("lost" if lost else "revoked").inc()
        self.metrics.partitions.set(len(self.partitions))
        if partition is None:
            return
        log.info("lost" if lost else "revoked", extra={"partition": partition.name})
        if self.stopping():
            self.unsaved.add(partition.name)  # until it is saved
        if not (lost or partition.ahead or self.crashed or self.clock() < self.hushed_until):
            self._part_with(partition)
        if not (partition.ahead or partition.unsaved):
            self.unsaved.discard(partition.name)

    @property
    def unfinished(self) -> list[str]:
        """Partitions that would go without a last checkpoint, if the process ended now."""
        held = list(self.partitions.values())
        return sorted(self.unsaved.union(one.name for one in held if one.ahead or one.unsaved))

    def _part_with(self, partition: Partition) -> None:
        """A last checkpoint, if it can be had at once."""
        try:
            if partition.unsaved:
                self.memory.save(partition)
            self.inflight.clear(partition.name)
        except (redis.RedisError, Stale) as error:  # the next owner then learns it again
            if isinstance(error, redis.RedisError):
                self.hushed_until = self.clock() + HUSHED_SECONDS
            log.warning("no last checkpoint", extra={"partition": partition.name, "reason": str(error)})

    def take(self, batch: Batch) -> None:
        """A batch as it comes from the source: up to the fence it is learned, from there on it is processed."""
        partition = self.partitions.get(batch.address)
        if partition is None:
            return  # it went away while this waited
        if batch.first != partition.learned:
            raise Stale(partition.name, f"a batch from {batch.first}, not {partition.learned}")
        known, new = batch.split(partition.fence.offset)
        if known.following > known.first:
            self.relearn(partition, known)
        if new.following == new.first:
            return
        if not partition.marked:
            self._mark(partition, new)
        self.process(partition, new)

    def process(self, partition: Partition, batch: Batch) -> None:
        """One batch through all stages, onto the board. Raises `Stale` if the fence refuses it: nothing was applied."""
        work = self.prepare(partition, batch)
        featured, scores = self.learn(partition, work)
        rows = rows_of(partition, featured, scores, self.board, partition.judge(featured, scores), work)
        alerts = [row.alert for row in rows if row.alert]
        counts = counts_of(featured.nights, scores.raw[:, 0])
        self.reached("learned")
        changed = self._insist(lambda: self._commit(partition, work, rows, counts), self._owned(partition))
        partition.fence = partition.fence._replace(offset=batch.following)
        partition.learned, partition.ahead = batch.following, False
        self.applied[batch.address] = batch.following
        self.read_until = batch.timestamps[-1] / 1000.0
        account(work, featured, scores, self.tally, self.metrics)
        self.watch.count(alerts)
        metrics, name, now = self.metrics, self.stream.name, self.clock()
        metrics.observe_missing(scores.missing, self.stream.features)
        metrics.observe_parts(scores, partition.ensemble.parts)
        metrics.observe_features(featured.matrix, partition.ensemble.reference, now)
        metrics.board_changes.labels(name).inc(changed)
        metrics.applied.labels(name).set(now)
        metrics.latency.observe(now - np.array(batch.timestamps)[work.index] / 1000.0, name)

    def relearn(self, partition: Partition, batch: Batch) -> None:
        """Records that are on the board already: what they teach, and nothing else."""
        work = self.prepare(partition, batch)
        partition.judge(*self.learn(partition, work))
        partition.learned, partition.ahead = batch.following, False
        self.relearned += len(batch.values)
        self.metrics.relearned.labels(self.stream.name).inc(len(batch.values))
        self._renew(partition)
        self.reached("relearned")

    def save(self, partition: Partition, switched: bool = False) -> None:
        """A checkpoint now; `switched`: from here on another model scores."""

        def saved() -> None:
            with (
                self.metrics.checkpoint_seconds.time(),
                self._redis("checkpoint"),
                self.metrics.checkpoint_failures.count_exceptions(redis.RedisError),
            ):
                self.memory.save(partition, switched)

        self._insist(saved, self._owned(partition))
        self.reached("saved")

    def save_if_due(self, partition: Partition) -> None:
        """A checkpoint from time to time, if there is anything new."""
        if partition.unsaved and self.clock() - partition.saved_at >= self.checkpoint_seconds:
            self.save(partition)

    def report(self, source: Batches) -> None:
        """Lag and memory, from time to time. Raises `NoProgress`."""
        lags, metrics = source.lag(), self.metrics
        age = self.clock() - self.read_until if any(lags.values()) and self.read_until else 0.0
        metrics.observe_lag(lags, age)
        metrics.report_drift(self.stream.features)
        metrics.observe_decoder(self.decoder)
        metrics.observe_partitions(self.partitions.values(), self.clock())
        told, waiting = self.tally, sum(lags.values())
        self.heartbeat.see(told.consumed, told.scored, self.relearned, waiting, len(self.partitions))
        self.watchdog.see(told.consumed + self.relearned, waiting)

    def verify(self, source: Batches) -> None:
        """See, of idle partitions too, that Redis hasn't gone back in time."""
        held = list(self.partitions.items())
        if not held:
            return
        try:
            stored = self.checkpoints.fences([partition.name for _, partition in held])
        except redis.RedisError as error:
            self.metrics.troubles.labels(kind_of(error)).inc()
            log.warning("no answer about the fences", extra={"reason": str(error)})
            return
        for (address, partition), stands in zip(held, stored, strict=True):
            with self._fenced(source, address):
                if stands != str(partition.fence):
                    raise Stale(partition.name, stands)

    def follow(self, source: Batches) -> None:
        """See which models are in force, and have every partition go on with them."""
        try:
            self.chosen.ask()
        except redis.RedisError as error:
            self.metrics.troubles.labels(kind_of(error)).inc()
            log.warning("no answer about the model in force", extra={"reason": str(error)})
            return
        for address, partition in list(self.partitions.items()):
            with self._fenced(source, address):
                self._renew(partition)

    def heed(self, source: Batches) -> None:
        """See whether the rules have changed, and judge by them from the next batch on."""
        if self.watch.refresh():
            self.doubt()
            for address, partition in self.partitions.items():
                partition.heed(self.watch.rulebook.book.rules, self.sharing(source, address.topic))
        self.watch.observe(self.partitions.values())

    def doubt(self) -> None:
        """Warn of rules that no event can meet."""
        for doubt in doubts(self.watch.rulebook.book.rules, self.stream):
            log.warning("a rule in vain", extra={"reason": doubt})

    def sharing(self, source: Batches, topic: str) -> int:
        """How many partitions share a night's alerts; asked only if a rule wants to know."""
        if not self.watch.wants_nights:
            return 1
        try:
            return source.partition_count(topic)
        except Unavailable:  # no reason to wait: ours are some of them
            return max((one.number for one in self.partitions if one.topic == topic), default=0) + 1

    def prepare(self, partition: Partition, batch: Batch) -> Work:
        """Decode a batch and call its entities to mind."""
        if not partition.fits(len(batch.values)):
            self.save(partition)

        def prepared() -> Work:
            with self._stage("decode"):
                try:
                    decoded = self.decoder.decode(partition.touchable(batch), batch.keys, batch.headers)
                except RegistryUnavailable as error:
                    raise Unavailable(str(error)) from error
                columns, kept, faults = partition.check(decoded.columns)
                dead = [(one.index, one.error) for one in decoded.rejected]
                dead += [(int(decoded.index[row]), error) for row, error in faults]
                dead = [(i, partition.verdict(batch.offsets[i], error)) for i, error in dead]
            with self._redis("recall"):
                self.memory.recall(partition, columns)
            return Work(batch, columns, decoded.index[kept], sorted(dead, key=lambda one: one[0]))

        work = self._insist(prepared, self._owned(partition))
        self.reached("prepared")
        return work

    def learn(self, partition: Partition, work: Work) -> tuple[Featured, Scores]:
        """Features and scores, each record's before it is learned."""
        partition.ahead = True
        with self._stage("features"):
            featured = partition.features(work.columns)
        with self._stage("score"):
            return featured, partition.score(featured)

    def _commit(
        self, partition: Partition, work: Work, rows: list[Row], counts: Mapping[int, Mapping[int, int]]
    ) -> int:
        """Dead letters and alerts, delivered for certain before the offset may move; then the board.

        How many rows changed.
        """
        with self._stage("commit"):
            self._send(work, [row.alert for row in rows if row.alert])
            self.reached("buried")
            with self._redis("commit"):
                committed = self.board.commit(partition.name, partition.fence, work.batch.following, rows, counts)
        if not committed.applied:
            raise Stale(partition.name, str(committed.stored))
        self.reached("committed")
        return committed.changed

    def _send(self, work: Work, alerts: list[Alert]) -> None:
        """What goes to other topics, once; then wait until all of it is there."""
        announcements = self.watch.announcements(alerts)
        if not (work.dead or announcements):
            return
        if not work.sent:
            for announcement in announcements:
                self.letters.send(announcement)
            for i, error in work.dead:
                self.letters.send(Letter.of(work.batch, i, error, self.box))
            if work.dead:
                _log_dead(work)
            work.sent = True
        try:
            self.letters.confirm()
        except DeadLetterError:
            self.metrics.dead.labels(self.stream.name, "failed").inc(len(work.dead))
            raise

    def _renew(self, partition: Partition) -> None:
        """Another model than the partition's starts at the fence and, since it is saved at once, nowhere else."""
        model, shadow = self.chosen.model, self.chosen.shadow
        if partition.learned != partition.fence.offset or partition.follows(model, shadow):
            return
        self.save(partition, switched=partition.take_up(model, shadow))
        extra = {"partition": partition.name, "offset": partition.learned, "model": model.id}
        log.info("took up", extra=extra)

    def _mark(self, partition: Partition, batch: Batch) -> None:
        """Say that the first batch since the assignment is in flight; if workers died of it, look at it from afar."""
        if partition.deaths >= SUSPICIOUS_DEATHS:
            log.warning("suspicious", extra={"partition": partition.name, "deaths": partition.deaths})
            found = self._insist(later(lambda: self.probe(batch)), self._owned(partition))
            for offset in sorted(found - partition.quarantine):
                log.error("quarantined", extra={"partition": partition.name, "offset": offset})
            partition.quarantine |= found

        def marked() -> None:
            if partition.quarantine:
                self.inflight.set_aside(partition.name, partition.quarantine)
            self.inflight.put(partition.name, batch.first, partition.deaths + 1)

        self._insist(marked, self._owned(partition))
        partition.marked = True

    def _insist(self, work: Callable[[], Result], wanted: Callable[[], bool]) -> Result:
        """Try until it succeeds; at once or never where there is no stream to pause (`run` has not been called)."""
        if self.patience is None:
            return work()
        return self.patience.insist(work, lambda: wanted() and not self.stopping())

    def _owned(self, partition: Partition) -> Callable[[], bool]:
        return lambda: partition in self.partitions.values()

    @contextmanager
    def _fenced(self, source: Batches, address: Address) -> Iterator[None]:
        """A partition whose fence has moved begins anew from what Redis holds."""
        try:
            yield
        except Stale as stale:
            self.metrics.stale.inc()
            log.warning("stale", extra={"partition": stale.partition, "stored": stale.stored})
            if self.partitions.pop(address, None) is not None:
                source.close(address)

    def _trouble(self, kind: str) -> None:
        self.metrics.troubles.labels(kind).inc()
        self.metrics.paused.set(1)
        self.heartbeat.wait(kind)
        self.watchdog.excuse()

    def _over(self, source: Batches) -> None:
        self.metrics.paused.set(0)
        self.heartbeat.go_on()
        source.go_on()

    def _stage(self, name: str) -> AbstractContextManager[None]:
        return self.metrics.stage.labels(name).time()

    def _redis(self, operation: str) -> AbstractContextManager[None]:
        return self.metrics.redis_seconds.labels(operation).time()


def _log_dead(work: Work) -> None:
    first = work.dead[0][1]
    extra = {
        "partition": work.batch.name,
        "count": len(work.dead),
        "reason": first.reason,
        "detail": first.detail,
    }
    log.warning("dead letters", extra=extra)
