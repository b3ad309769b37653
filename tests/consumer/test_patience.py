"""Waiting: for what, how long, and when not."""

import pytest
import redis

from skimstream.consumer.fence import Stale
from skimstream.consumer.patience import KINDS, MOST_SECONDS, Interrupted, Patience, Unavailable, kind_of, passes

PASSING = [
    redis.ConnectionError("refused"),
    redis.TimeoutError("no answer"),
    redis.BusyLoadingError("Redis is loading the dataset in memory"),
    redis.ReadOnlyError("You can't write against a read only replica."),
    redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    redis.AuthenticationError("WRONGPASS"),
    redis.exceptions.NoPermissionError("this user has no permissions"),
    redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    redis.ResponseError("MASTERDOWN Link with MASTER is down"),
    redis.ResponseError("BUSY Redis is busy running a script."),
    Unavailable("dead letters"),
]


class Waits:
    """A `Patience` whose time stands still; what it did is noted."""

    def __init__(self) -> None:
        self.idled: list[float] = []
        self.kinds: list[str] = []
        self.ended = 0
        self.patience = Patience(self.idled.append, self.kinds.append, self.over, clock=lambda: 0.0, chance=lambda: 1.0)

    def over(self) -> None:
        self.ended += 1

    def failing(self, errors: list[Exception]) -> str:
        def work() -> str:
            if errors:
                raise errors.pop(0)
            return "done"

        return self.patience.insist(work, lambda: True)


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass_is_waited_for(error: Exception) -> None:
    waits = Waits()
    assert passes(error)
    assert waits.failing([error]) == "done"
    assert (len(waits.idled), waits.kinds, waits.ended) == (1, [kind_of(error)], 1)


@pytest.mark.parametrize("error", [redis.ResponseError("WRONGTYPE Operation"), redis.DataError("no")])
def test_a_mistake_is_not(error: Exception) -> None:
    waits = Waits()
    with pytest.raises(type(error)):
        waits.failing([error])
    assert waits.idled == []


def test_nothing_is_told_when_nothing_is_wrong() -> None:
    waits = Waits()
    assert waits.failing([]) == "done"
    assert (waits.idled, waits.kinds, waits.ended) == ([], [], 0)


def test_waits_double_up_to_a_limit_that_resumes_within_five_seconds() -> None:
    waits = Waits()
    waits.failing([redis.ConnectionError("x") for _ in range(10)])
    assert waits.idled[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert set(waits.idled[5:]) == {MOST_SECONDS}
    assert MOST_SECONDS < 5


def test_who_no_longer_wants_it_is_let_go() -> None:
    waits, left = Waits(), iter([True, True, False])

    def work() -> None:
        raise redis.ConnectionError("gone")

    with pytest.raises(Interrupted):
        waits.patience.insist(work, lambda: next(left))
    assert (len(waits.idled), waits.ended) == (3, 1)


def test_however_the_wait_ends_the_stream_goes_on() -> None:
    """A Redis that is back may have gone back in time: the others of the worker's partitions must be read on."""
    for last in (Stale("t/0", "5"), redis.ResponseError("WRONGTYPE")):
        waits = Waits()
        with pytest.raises(type(last)):
            waits.failing([redis.ConnectionError("gone"), last])
        assert (len(waits.idled), waits.ended) == (1, 1)


def test_every_kind_is_one_of_a_closed_set() -> None:
    assert {kind_of(error) for error in PASSING} <= set(KINDS)
    assert kind_of(ValueError()) == "other"
