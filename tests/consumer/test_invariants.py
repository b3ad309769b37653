"""Whatever happens in whatever order, what has been applied is what an undisturbed run has made of the same records.

A state machine: events come, workers work, crash, leave, are replaced while they still believe to be owners (zombies),
Redis takes snapshots and goes back to them.
"""

import itertools
from typing import Any

import hypothesis.strategies as st
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets
from skimstream.consumer.streams.behaviour import Behaviour
from stage.copies import Copy, copy_of, put_back
from stage.listed import Listed, Recorder, Topic, learned, recorder, sessions

EVENTS = [*sessions(3_000, users=60), *([b"rubbish"] * 30)]
PARTITIONS = (0, 1)
BOARD = "skim:{behaviour}*"


class Life(RuleBasedStateMachine):
    """Two partitions, any number of workers, one Redis."""

    store: redis.Redis

    @initialize()
    def begin(self) -> None:
        self.store.flushall()
        self.topic = Topic({number: [] for number in PARTITIONS})
        self.sent = 0
        self.workers: list[tuple[Recorder, Listed]] = []
        self.emitted: dict[tuple[int, int], bytes] = {}
        self.copies: list[Copy] = []
        self.reference = recorder(self.store, "reference")
        self.unbroken = Listed(self.topic, itertools.repeat(64))

    @rule(count=st.integers(1, 60), stride=st.integers(1, 7))
    def produce(self, count: int, stride: int) -> None:
        """Events come; they depend on nothing that happened before."""
        for i in range(count):
            event = EVENTS[(self.sent * stride + i) % len(EVENTS)]
            self.topic.partitions[PARTITIONS[(self.sent + i) % 2]].append(event)
        self.sent += count

    @precondition(lambda self: len(self.workers) < 3)
    @rule(
        size=st.sampled_from([1, 5, 30]),
        seconds=st.sampled_from([0.0, 1e9]),
        capacity=st.sampled_from([40, 1_000]),
    )
    def join(self, size: int, seconds: float, capacity: int) -> None:
        """A worker comes and takes everything; whoever was there before doesn't know it yet."""
        worker = recorder(self.store, stream=Behaviour(capacity), checkpoint_seconds=seconds)
        self.workers.append((worker, Listed(self.topic, itertools.repeat(size))))

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2), turns=st.integers(1, 6))
    def work(self, which: int, turns: int) -> None:
        """One of the workers takes some batches, owner or zombie."""
        worker, source = self.workers[which % len(self.workers)]
        left = iter(range(turns))
        worker.run(source, lambda: next(left, None) is None)
        for partition, offset, score in worker.emitted:
            assert self.emitted.setdefault((partition, offset), score) == score
        worker.emitted.clear()

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2), left_in_order=st.booleans())
    def go(self, which: int, left_in_order: bool) -> None:
        """A worker leaves, or crashes."""
        worker, _ = self.workers.pop(which % len(self.workers))
        if left_in_order:
            for number in PARTITIONS:
                worker.dropped(Address("t", number), lost=False)

    @rule()
    def snapshot(self) -> None:
        """Redis writes its dump file."""
        self.copies.append(copy_of(self.store, BOARD))

    @precondition(lambda self: self.copies)
    @rule(back=st.integers(0, 2))
    def roll_back(self, back: int) -> None:
        """Redis is back with an old dump file."""
        put_back(self.store, self.copies[-1 - back % len(self.copies)], BOARD)

    @invariant()
    def no_offset_is_beyond_the_topic(self) -> None:
        """Nothing is applied that wasn't sent."""
        for name, offset in read_offsets(self.store, "behaviour").items():
            assert 0 <= offset <= len(self.topic.partitions[int(name[-1])])

    def teardown(self) -> None:
        """In the end all is as if nothing had happened."""
        if not hasattr(self, "reference"):
            return
        worker, source = recorder(self.store), Listed(self.topic, itertools.repeat(20))
        worker.run(source, lambda: source.done)
        self.reference.run(self.unbroken, lambda: self.unbroken.done)
        for number in PARTITIONS:
            worker.dropped(Address("t", number), lost=False)
            self.reference.dropped(Address("t", number), lost=False)
        expected = {(partition, offset): score for partition, offset, score in self.reference.emitted}
        for partition, offset, score in worker.emitted:
            assert self.emitted.setdefault((partition, offset), score) == score
        assert self.emitted == expected
        found = learned(self.store, "behaviour")
        found.pop("inflight", None)
        found.pop("quarantine", None)
        assert found == learned(self.store, "reference")


@pytest.mark.parametrize(
    ("examples", "steps"), [(8, 40), pytest.param(50, 40, marks=pytest.mark.nightly)], ids=["320", "2000"]
)
def test_invariants_hold_for_many_steps(examples: int, steps: int, store: redis.Redis) -> None:
    machine: Any = type("Machine", (Life,), {"store": store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=examples < 50,
        ),
    )
