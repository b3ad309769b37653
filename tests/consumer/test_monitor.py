"""The bars of rules: so many as asked, in any cut, over checkpoints, and whatever drifts."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.consumer.monitor import FIRST_NIGHT, Monitor
from skimstream.consumer.rule import Rule
from skimstream.scoring.ensemble import Scores
from skimstream.scoring.threshold import Thresholds
from stage.listed import model_of

Floats = NDArray[np.float64]
RNG = np.random.default_rng(9)
COMBINED = RNG.normal(size=6_000)
NIGHTS = np.sort(RNG.integers(100, 104, 6_000))
RULES = (
    Rule(name="fixed", min_score=0.9),
    Rule(name="rate", false_alarm_rate=0.01),
    Rule(name="nightly", alerts_per_night=30),
)


@dataclass
class Scored:
    """The part of `Scores` that a monitor looks at."""

    combined: Floats
    score: Floats


def scored(combined: Floats) -> Scores:
    return cast(Scores, Scored(combined, 1 / (1 + np.exp(-combined))))


def monitor(rules: tuple[Rule, ...] = RULES, partitions: int = 1, saved: dict[str, Floats] | None = None) -> Monitor:
    fresh = Monitor()
    fresh.restore(saved or {})
    fresh.heed(rules, Thresholds.begin(), partitions)
    return fresh


@settings(deadline=None)
@given(st.lists(st.integers(0, len(COMBINED)), max_size=12))
def test_batches_and_checkpoints_change_no_verdict(cuts: list[int]) -> None:
    whole = monitor()
    expected = whole.judge(scored(COMBINED), NIGHTS)
    one, found = monitor(), []
    edges = [0, *sorted(cuts), len(COMBINED)]
    for first, last in pairwise(edges):
        found.append(one.judge(scored(COMBINED[first:last]), NIGHTS[first:last]))
        one = monitor(saved=one.to_arrays())  # as after a crash
    assert np.array_equal(np.concatenate(found), expected)
    assert one.levels() == whole.levels()


def test_each_bar_asks_for_what_its_rule_says() -> None:
    found = monitor().judge(scored(COMBINED), NIGHTS)
    assert np.array_equal(found[:, 0], 1 / (1 + np.exp(-COMBINED)) >= 0.9)
    assert 20 < found[:, 0].sum() < 500
    assert found[:, 1].mean() == pytest.approx(0.01, abs=0.002)
    counts = [int(found[NIGHTS == night, 2].sum()) for night in (101, 102, 103)]
    assert all(24 <= count <= 36 for count in counts), counts
    assert monitor(()).judge(scored(COMBINED), NIGHTS).shape == (6_000, 0)


def test_a_night_is_as_long_as_the_one_before() -> None:
    """A stream whose nights grow tenfold: too many the first time, then as asked; four partitions share the number."""
    lengths = [2_000, 20_000, 20_000]
    nights = np.repeat([100, 101, 102], lengths)
    one = monitor((Rule(alerts_per_night=40),), partitions=4)
    found = one.judge(scored(np.random.default_rng(1).normal(size=len(nights))), nights)
    assert 7 <= found[nights == 102].sum() <= 13
    assert found[nights == 101].sum() > 13
    first = monitor((Rule(alerts_per_night=40),), partitions=4)
    expected = (lengths[0] / (FIRST_NIGHT / 4)) * 10
    assert abs(first.judge(scored(np.random.default_rng(1).normal(size=2_000)), nights[:2_000]).sum() - expected) <= 4


def test_values_that_are_missing_and_late_events_of_a_night_before_are_no_trouble() -> None:
    combined, nights = COMBINED.copy(), NIGHTS.copy()
    combined[::3] = np.nan
    nights[1_000:4_000:7] = 99
    found = monitor().judge(scored(combined), nights)
    assert not found[::3].any()
    assert found[:, 2].any()


def test_rules_that_stay_keep_their_bars() -> None:
    one = monitor()
    one.judge(scored(COMBINED + 2), NIGHTS)
    before = one.levels()
    one.heed((RULES[1], Rule(name="new", false_alarm_rate=0.001)), Thresholds.begin(), 1)
    assert one.levels() == {"rate": before["rate"], "new": pytest.approx(3.09)}
    one.heed((Rule(name="rate", false_alarm_rate=0.02),), Thresholds.begin(), 1)  # another bar under the old name
    assert one.levels()["rate"] == pytest.approx(2.05, abs=0.01)
    one.renew(Thresholds.begin())
    assert one.levels() == monitor(one.rules).levels()


@pytest.mark.parametrize(
    "state",
    [
        np.zeros(5),
        np.zeros(6, np.int64),
        np.full(6, np.nan),
        np.array([0.01, 1e9, 1.0, 0, 0, 0]),
        np.array([0.01, 2.0, 0.0, 0, 0, 0]),
        np.array([0.02, 2.0, 1.0, 0, 0, 0]),
        np.array([0.01, 2.0, 1.0, -5, 0, 0]),
        np.array([0.01, 2.0, 1.0, 0, -1, 0]),
    ],
)
def test_a_state_that_no_run_leads_to_is_not_gone_on_from(state: Any) -> None:
    assert monitor((RULES[1],), saved={"rate": state}).levels() == monitor((RULES[1],)).levels()


def test_a_false_alarm_rate_is_kept_in_each_quarter_though_the_stream_drifts() -> None:
    """200,000 events without anomalies; half-way a third of the features moves by a spread."""
    model = model_of("behaviour")
    reference, rng = model.reference, np.random.default_rng(5)
    drawn = rng.integers(0, reference.quantiles.shape[1], (200_000, len(reference.median)))
    rows = np.take_along_axis(reference.quantiles.T, drawn, axis=0)
    rows[100_000:, ::3] += reference.spread[::3]
    one = monitor((Rule(false_alarm_rate=1e-3),))
    ensemble, found, above = model.ensemble(), [], []
    one.heed(one.rules, ensemble.thresholds, 1)
    fixed = one.levels()["false_alarm_rate 0.001"]
    for first in range(0, len(rows), 5_000):
        scores = ensemble.score_learn(rows[first : first + 5_000])
        found.append(one.judge(scores, np.zeros(5_000, np.int64))[:, 0])
        above.append(scores.combined > fixed)
    rates, unmoved = (np.concatenate(one).reshape(4, -1).mean(axis=1) for one in (found, above))
    assert ((rates >= 0.5e-3) & (rates <= 2e-3)).all(), rates
    assert not ((unmoved >= 0.5e-3) & (unmoved <= 2e-3)).any()  # where the bar began, it would have been useless
