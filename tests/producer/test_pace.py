"""Pace with a clock that only moves when something sleeps or says so."""

import itertools

import pytest

from skimstream.producer.pace import Pace


class Clock:
    """A clock whose sleep moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.steps: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.steps.append(seconds)
        self.now += seconds


def sent(pace: Pace, clock: Clock, count: int) -> list[float]:
    times = []
    for _ in range(count):
        pace.wait()
        times.append(clock.now - 1000)
    return times


def test_events_are_evenly_spaced() -> None:
    clock = Clock()
    times = sent(Pace(20, clock.read, clock.sleep), clock, 100)
    assert times == pytest.approx([i / 20 for i in range(100)])


def test_no_rate_never_sleeps() -> None:
    clock = Clock()
    sent(Pace(None, clock.read, clock.sleep), clock, 1000)
    assert clock.steps == []


def test_sleeps_in_small_steps() -> None:
    clock = Clock()
    sent(Pace(0.5, clock.read, clock.sleep), clock, 3)
    assert clock.now - 1000 == pytest.approx(4)
    assert max(clock.steps) <= Pace.STEP


def test_a_short_stall_is_caught_up() -> None:
    clock = Clock()
    pace = Pace(10, clock.read, clock.sleep)
    sent(pace, clock, 10)
    clock.now += 0.55
    times = sent(pace, clock, 20)
    assert times[-1] == pytest.approx(2.9)  # the 30th event is on time again


def test_a_long_stall_is_followed_by_one_second_worth_at_most() -> None:
    clock = Clock()
    pace = Pace(10, clock.read, clock.sleep)
    sent(pace, clock, 10)
    clock.now += 3600
    resumed = clock.now - 1000
    at_once = list(itertools.takewhile(lambda time: time == resumed, sent(pace, clock, 40)))
    assert 10 <= len(at_once) <= 11


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="None for no limit"):
        Pace(rate)
