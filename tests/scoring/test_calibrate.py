from bisect import bisect_left, insort

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.calibrate import WARM_EVENTS, Ranker
from skimstream.scoring.errors import ModelError

Floats = NDArray[np.float64]


def reference(values: list[float], window: int) -> Floats:
    """The interpolated conformal rank over the last `window` values, literally."""
    arrival: list[float] = []
    scores = []
    for value in values:
        held = sorted(arrival)
        below, m = bisect_left(held, value), len(held)
        if m < WARM_EVENTS:
            scores.append(float("nan"))
        elif below == m:
            excess = value - held[-1]
            scores.append((m + excess / (1.0 + excess)) / (m + 1.0))
        elif below == 0:
            scores.append(0.0)
        else:
            scores.append((below - 1 + (value - held[below - 1]) / (held[below] - held[below - 1])) / (m + 1.0))
        arrival = [*arrival, value][-window:]
    return np.array(scores)


VALUES = st.lists(st.floats(-8, 8), min_size=0, max_size=300)


@settings(deadline=None, max_examples=60)
@given(VALUES, st.integers(101, 250))
def test_equals_the_reference_to_the_last_bit(values: list[float], window: int) -> None:
    warm = np.random.default_rng(0).normal(size=120).tolist()
    np.testing.assert_array_equal(Ranker(window).rank(np.array(warm + values)), reference(warm + values, window))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 700), max_size=20))
def test_batches_change_nothing(cuts: list[int]) -> None:
    values = np.random.default_rng(3).normal(size=700).round(1)
    ranker = Ranker(200)
    parts = [ranker.rank(part) for part in np.split(values, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), Ranker(200).rank(values))


def test_never_above_the_conformal_percentile_but_for_the_far_tail() -> None:
    rng = np.random.default_rng(5)
    held: list[float] = []
    ranker = Ranker(10_000)
    for value in rng.normal(size=2_000).round(2).tolist():
        score = float(ranker.rank(np.array([value]))[0])
        if len(held) >= WARM_EVENTS:
            at_least = len(held) - bisect_left(held, value)
            percentile = 1 - (1 + at_least) / (len(held) + 1)
            assert 0 <= score < 1
            assert score <= percentile + 1e-12 or at_least == 0
        insort(held, value)


def test_the_far_tail_is_ordered_by_the_value() -> None:
    ranker = Ranker()
    ranker.rank(np.random.default_rng(0).normal(size=1_000))
    state = ranker.to_arrays()
    tail = [float(Ranker.from_arrays(state).rank(np.array([x]))[0]) for x in (5.0, 6.0, 7.0, 8.0)]
    assert tail == sorted(set(tail))
    assert 0.999 < tail[0] < tail[-1] < 1


def test_percentiles_are_what_they_say() -> None:
    scores = Ranker().rank(np.random.default_rng(1).normal(size=50_000))
    assert abs((scores[5_000:] >= 0.99).mean() - 0.01) < 0.002


def test_silence_does_not_enter() -> None:
    values = np.random.default_rng(2).normal(size=400)
    gaps = np.insert(values, np.arange(0, 400, 7), np.nan)
    scores = Ranker().rank(gaps)
    np.testing.assert_array_equal(scores[~np.isnan(gaps)], Ranker().rank(values))
    assert np.isnan(scores[np.isnan(gaps)]).all()


def test_state_travels_and_hostile_state_is_refused() -> None:
    values = np.random.default_rng(4).normal(size=1_000)
    ranker = Ranker(300)
    ranker.rank(values[:650])
    state = ranker.to_arrays()
    np.testing.assert_array_equal(Ranker.from_arrays(state).rank(values[650:]), ranker.rank(values[650:]))
    for bad in (
        {"window": state["window"]},
        {**state, "window": np.array([-1], np.int64)},
        {**state, "window": np.array([1 << 40], np.int64)},
        {**state, "window": np.array([10], np.int64)},
        {**state, "values": np.full(200, np.nan)},
        {**state, "values": np.zeros(200, np.float32)},
    ):
        with pytest.raises(ModelError):
            Ranker.from_arrays(bad)
