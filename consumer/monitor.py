"""The monitor of one partition: which of its scored events are above the bars of the rules.

A bar is a fixed `min_score`, or a threshold on the combined value that follows the stream (scoring/threshold.py). Its
state is part of the checkpoint; events that are learned again move it as they did the first time. No score depends on
any of it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..scoring.ensemble import Scores
from ..scoring.threshold import HIGHEST_LEVEL, Threshold, Thresholds
from .rule import Rule
from .streams.base import Floats, Ints

Bools = NDArray[np.bool_]

# In a partition's first night nobody knows how many events a night has. A small survey's ten thousand, over all
# partitions, let a few too many pass in a longer night; the outbox never tells more than were asked for.
FIRST_NIGHT = 10_000.0
# A rate above this asks for every other event: a night shorter than two events an alert.
HIGHEST_RATE = 0.5
STATE = 6  # numbers of a bar's saved state


class Bar(Protocol):
    """What an event has to exceed."""

    @property
    def level(self) -> float:
        """What it is now, for people."""

    def judge(self, scores: Scores, nights: Ints) -> Bools:
        """bool[k]: which events exceed it, each judged before it moves the bar, in order."""

    def state(self) -> Floats:
        """float64[6]."""


class FixedBar:
    """`min_score`."""

    def __init__(self, level: float) -> None:
        self.fixed = level

    @property
    def level(self) -> float:
        """The score."""
        return self.fixed

    def judge(self, scores: Scores, nights: Ints) -> Bools:
        """Scores from `level` on; no score (NaN) is none."""
        found: Bools = scores.score >= self.fixed
        return found

    def state(self) -> Floats:
        """Nothing is learned."""
        return np.zeros(STATE)


class RateBar:
    """`false_alarm_rate`: so many of all events, in the long run, whatever drifts."""

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold

    @property
    def level(self) -> float:
        """The combined value that is exceeded so often."""
        return self.threshold.level

    def judge(self, scores: Scores, nights: Ints) -> Bools:
        """As `Threshold.alarms`."""
        return self.threshold.alarms(scores.combined)

    def state(self) -> Floats:
        """The threshold."""
        return np.array([self.threshold.rate, self.threshold.level, self.threshold.step, 0.0, 0.0, 0.0])


class NightBar:
    """`alerts_per_night`: a rate that makes `share` of a night as long as the last one, in this partition."""

    def __init__(self, share: float, threshold: Threshold, night: int, seen: float, expected: float) -> None:
        self.share = share
        self.threshold = threshold
        self.night = night  # the latest of which there were events; -1 = none yet
        self.seen = seen  # its scored events so far
        self.expected = expected  # those of the night before

    @property
    def level(self) -> float:
        """The combined value that is exceeded so often."""
        return self.threshold.level

    def judge(self, scores: Scores, nights: Ints) -> Bools:
        """As `Threshold.alarms`, at a rate that each event adjusts; late events of an earlier night count to this."""
        latest = np.maximum(np.maximum.accumulate(nights), self.night) if len(nights) else nights
        counted = (~np.isnan(scores.combined)).astype(np.float64)
        rates = np.empty(len(nights))
        edges = [0, *(np.flatnonzero(np.diff(latest)) + 1).tolist(), len(nights)]
        for first, last in pairwise(edges):
            if first == last:
                continue
            if latest[first] != self.night:
                self.expected = self.seen if self.night >= 0 else self.expected
                self.night, self.seen = int(latest[first]), 0.0
            seen = self.seen + np.cumsum(counted[first:last])
            rates[first:last] = self.share / np.maximum(self.expected, seen)
            self.seen = float(seen[-1])
        return self.threshold.alarms_at(scores.combined, np.minimum(rates, HIGHEST_RATE))

    def state(self) -> Floats:
        """The threshold and what is known of nights."""
        numbers = [self.threshold.rate, self.threshold.level, self.threshold.step]
        return np.array([*numbers, float(self.night), self.seen, self.expected])


class Monitor:
    """The rules of one partition with their bars."""

    def __init__(self) -> None:
        self.rules: tuple[Rule, ...] = ()
        self.bars: dict[tuple[str, str, float], Bar] = {}
        self.saved: Mapping[str, NDArray[Any]] = {}
        self.partitions = 1

    def heed(self, rules: tuple[Rule, ...], thresholds: Thresholds, partitions: int) -> None:
        """From the next event on these rules hold; a bar that was in force goes on where it stood.

        thresholds: the partition's own, from which bars that are new begin. partitions: how many share a night.
        """
        known = self.bars
        self.rules, self.partitions, self.bars = rules, max(partitions, 1), {}
        for rule in rules:
            name = (rule.name, *rule.bar)
            state = self.saved.get(rule.name)
            self.bars[name] = known.get(name) or _bar(rule, thresholds, self.partitions, state)

    def judge(self, scores: Scores, nights: Ints) -> Bools:
        """bool[k, rules] of a batch's scored events, in order."""
        if not self.rules:
            return np.zeros((len(scores.score), 0), np.bool_)
        return np.column_stack([bar.judge(scores, nights) for bar in self.bars.values()])

    def levels(self) -> dict[str, float]:
        """What each rule asks for now."""
        return {rule.name: bar.level for rule, bar in zip(self.rules, self.bars.values(), strict=True)}

    def renew(self, thresholds: Thresholds) -> None:
        """Another model scores from here on, whose values are others: all bars begin anew."""
        self.bars, self.saved = {}, {}
        self.heed(self.rules, thresholds, self.partitions)

    def to_arrays(self) -> dict[str, Floats]:
        """What a checkpoint keeps, by rule."""
        return {rule.name: bar.state() for rule, bar in zip(self.rules, self.bars.values(), strict=True)}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a checkpoint; to be followed by `heed`."""
        self.bars, self.saved = {}, saved


def _bar(rule: Rule, thresholds: Thresholds, partitions: int, saved: NDArray[Any] | None) -> Bar:
    kind, number = rule.bar
    if kind == "min_score":
        return FixedBar(number)
    night, seen, expected = -1.0, 0.0, FIRST_NIGHT / partitions
    share = number / partitions
    rate = number if kind == "false_alarm_rate" else min(share / expected, HIGHEST_RATE)
    state = _sound(saved, rate)
    if state is None:
        threshold = thresholds.beyond(rate)
    else:
        threshold = Threshold(rate, state[1], state[2])
        night, seen, expected = state[3:]
    if kind == "false_alarm_rate":
        return RateBar(threshold)
    return NightBar(share, threshold, int(night), seen, max(expected, 1.0))


def _sound(saved: NDArray[Any] | None, rate: float) -> Sequence[float] | None:
    """A saved state that this rule's bar can go on from; a rule may have changed, and files may be damaged."""
    if saved is None or saved.shape != (STATE,) or saved.dtype != np.float64 or not np.isfinite(saved).all():
        return None
    state: list[float] = saved.tolist()
    right = abs(state[1]) <= HIGHEST_LEVEL and 0 < state[2] <= HIGHEST_LEVEL and state[0] == rate
    return state if right and -1 <= state[3] < 1e9 and state[4] >= 0 and state[5] >= 0 else None
