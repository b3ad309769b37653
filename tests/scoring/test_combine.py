import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.combine import CAP, FLOOR, GUARD_START, WARM_EVENTS, Combiner
from skimstream.scoring.errors import ModelError

Floats = NDArray[np.float64]


def reference(raw: Floats) -> tuple[Floats, Floats]:
    """The guarded z-score, literally, one part after the other."""
    z = np.full(raw.shape, np.nan)
    for part in range(raw.shape[1]):
        mean = variance = 0.0
        seen, guard, guard_at = 0, math.inf, 500
        for i, score in enumerate(raw[:, part].tolist()):
            if math.isnan(score):
                continue
            sigma = math.sqrt(variance)
            if seen >= 100:
                z[i, part] = min(max((score - mean) / sigma if sigma > 1e-12 else 0.0, -3.0), 8.0)
            if seen == guard_at:
                if sigma > 0:
                    guard = mean + 2.5 * sigma
                else:
                    guard_at += 200
            seen += 1
            hit = score > guard
            if guard < math.inf:
                guard = guard + 0.002 * sigma * ((1.0 if hit else 0.0) - 0.02)
            if not hit:
                weight = max(1 - 0.5 ** (1 / 20_000), 1.0 / seen)
                difference = score - mean
                mean, variance = (
                    mean + weight * difference,
                    (1 - weight) * (variance + weight * difference * difference),
                )
    combined = np.full(len(raw), np.nan)
    for i, row in enumerate(z):
        heard = [value for value in row.tolist() if not math.isnan(value)]
        if heard:
            combined[i] = sum(heard) / len(heard)
    return combined, z


def scores(seed: int, n: int = 2_000) -> Floats:
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(n, 2)) * [1.0, 30.0] + [0.4, -20.0]
    raw[rng.random((n, 2)) < 0.02] += 50
    raw[: n // 10, 1] = np.nan
    return raw


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference_to_the_last_bit(seed: int) -> None:
    combined, z = Combiner(2).combine(scores(seed))
    expected, expected_z = reference(scores(seed))
    np.testing.assert_array_equal(z, expected_z)
    np.testing.assert_array_equal(combined, expected)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 2_000), max_size=20), st.integers(0, 99))
def test_batches_change_nothing(cuts: list[int], seed: int) -> None:
    raw, combiner = scores(seed), Combiner(2)
    parts = [combiner.combine(part)[0] for part in np.split(raw, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), Combiner(2).combine(raw)[0])


def test_a_part_is_silent_until_it_is_warm_and_left_out_of_the_mean() -> None:
    raw = np.random.default_rng(0).normal(size=(1_000, 2))
    raw[:500, 1] = np.nan
    combined, z = Combiner(2).combine(raw)
    assert np.isnan(combined[:WARM_EVENTS]).all()
    assert np.isfinite(combined[WARM_EVENTS:]).all()
    assert np.isnan(z[: 500 + WARM_EVENTS, 1]).all()
    np.testing.assert_array_equal(combined[WARM_EVENTS : 500 + WARM_EVENTS], z[WARM_EVENTS : 500 + WARM_EVENTS, 0])


def test_z_is_capped_and_a_constant_part_says_0() -> None:
    raw = np.column_stack([np.random.default_rng(0).normal(size=500), np.full(500, 3.0)])
    raw[400, 0], raw[401, 0] = 1e9, -1e9
    _, z = Combiner(2).combine(raw)
    assert z[400, 0] == CAP
    assert z[401, 0] >= FLOOR
    assert (z[WARM_EVENTS:, 1] == 0).all()


def test_a_burst_does_not_raise_the_bar_against_itself() -> None:
    raw = np.random.default_rng(1).normal(size=(3_000, 1))
    raw[2_000:2_500] += 10
    _, z = Combiner(1).combine(raw)
    assert GUARD_START < 2_000
    assert z[2_490:2_500, 0].min() > 0.9 * z[2_000:2_010, 0].min()


def test_state_travels_and_hostile_state_is_refused() -> None:
    raw, combiner = scores(3), Combiner(2)
    combiner.combine(raw[:700])
    twin = Combiner.from_arrays(dict(combiner.to_arrays()), 2)
    np.testing.assert_array_equal(twin.combine(raw[700:])[0], combiner.combine(raw[700:])[0])
    good = combiner.to_arrays()["state"]
    for bad in (good[:1], good.astype(np.float32), np.full_like(good, np.nan), -good):
        with pytest.raises(ModelError):
            Combiner.from_arrays({"state": bad}, 2)
