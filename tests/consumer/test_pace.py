"""Batches that grow under load and come soon when there is little to do."""

import pytest
import redis

from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.pace import LEAST_SECONDS, MOST_BYTES, PATIENCE, Pace
from stage.listed import Listed, Topic, recorder, sessions


def batches(*counts: int, weight: int = 200) -> list[Batch]:
    """One of each size, of messages of so many bytes."""
    value = b"x" * weight
    return [Batch(Address("t", i), 0, n, list(range(n)), [value] * n, [0] * n) for i, n in enumerate(counts)]


def test_under_load_it_grows_as_far_as_it_may_and_shrinks_again() -> None:
    pace, seen = Pace(500, 0.1, most=4_000), []
    for _ in range(5):
        pace.took(batches(pace.size // 2, pace.size - pace.size // 2), 0.01)
        seen.append(pace.size)
    assert seen == [1_000, 2_000, 4_000, 4_000, 4_000]
    pace.took(batches(1_000), 0.01)  # neither full nor nearly empty
    assert pace.size == 4_000
    for _ in range(9):
        pace.took(batches(3), 0.01)
    assert pace.size == 500


def test_large_messages_keep_it_small() -> None:
    pace = Pace(500, 0.1, most=4_000)
    for _ in range(5):
        pace.took(batches(pace.size, weight=75_000), 0.01)
    assert pace.size == MOST_BYTES // 75_000 == 894
    pace.took(batches(894, weight=1 << 20), 0.01)  # what was asked for holds even then
    assert pace.size == 500


def test_it_never_grows_unless_it_may() -> None:
    pace = Pace(500, 0.1, most=1)
    for _ in range(5):
        pace.took(batches(500), 0.01)
    assert pace.size == 500


@pytest.mark.parametrize(
    ("took", "waits"), [(0.0, LEAST_SECONDS), (0.01, PATIENCE * 0.01), (1.0, 0.1)], ids=["idle", "some", "much"]
)
def test_the_wait_follows_what_a_batch_costs(took: float, waits: float) -> None:
    pace = Pace(500, 0.1, most=500)
    pace.took(batches(7), took)
    assert pace.seconds == waits


def test_what_is_in_a_batch_adds_no_wait() -> None:
    pace = Pace(500, 0.5, most=500)
    pace.took(batches(1, 1), 0.02)
    pace.took(batches(450), 5.0)
    assert pace.seconds == PATIENCE * 0.01
    pace.took(batches(90, 80, 90, 80), 0.4)
    assert pace.seconds == 4 * PATIENCE * 0.01
    pace.took([], 0.0)
    assert pace.seconds == LEAST_SECONDS


def test_no_wait_is_longer_than_asked_for() -> None:
    pace = Pace(500, 0.001, most=500)
    pace.took([], 0.0)
    assert pace.seconds == 0.001


class Asked(Listed):
    """Gives as much as is asked for."""

    def batches(self, size: int, seconds: float) -> list[Batch]:
        self.sizes = iter(lambda: size, None)
        self.asked.append(size)
        return super().batches(size, seconds)

    asked: list[int]


def test_a_worker_that_lags_takes_more_at_once_and_scores_the_same(store: redis.Redis) -> None:
    events, emitted = sessions(300), []
    for name, most in (("grows", 80), ("stays", 10)):
        worker, source = recorder(store, name), Asked(Topic({0: list(events)}), iter(()))
        source.asked = []
        worker.run(source, lambda source=source: source.done, 10, 0.1, most=most)  # type: ignore[misc]
        assert source.asked[:5] == ([10, 20, 40, 80, 80] if most == 80 else [10] * 5)
        emitted.append(worker.emitted)
    assert emitted[0] == emitted[1]
    assert len(emitted[0]) == 300


def test_a_batch_has_room_in_memory() -> None:
    assert load_settings(None, {}).batch.most == 4_000
    small = load_settings(None, {"state": {"capacity": 1_000}})
    assert small.batch_most == 1_000
    with pytest.raises(ConfigError, match=r"state\.capacity must be batch\.size or more"):
        load_settings(None, {"state": {"capacity": 1_000}, "batch": {"size": 1_001}})
