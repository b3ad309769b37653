import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.combine import CAP, EVERY, FLOOR, HEARD, KEPT, ONLINE, SCORES, SPREAD, WARM_EVENTS, Combiner
from skimstream.scoring.errors import ModelError

Floats = NDArray[np.float64]


def usual(kept: list[float]) -> tuple[float, float]:
    """Median and spread, literally."""
    ordered = sorted(kept)
    median = ordered[len(ordered) // 2]
    spread = median - ordered[len(ordered) * 4 // 25]
    return median, spread if spread > 0 else (ordered[-1] - median) / 8


def part_z(scores: list[float], settled_at: int | None) -> list[tuple[float, float]]:
    """One part's z-scores and what they are trusted; those from `settled_at` on are measured against that moment."""
    kept: list[float] = []
    anchor: tuple[float, float] | None = None
    heard, found = 0, []
    for i, score in enumerate(scores):
        if i == settled_at and heard >= 100:
            anchor = usual(kept[-1024:])
        z, trust = math.nan, 0.0
        if not math.isnan(score):
            if heard >= 100:
                middle, spread = usual(kept[-1024:])
                trust = 1.0
                if anchor is not None and anchor[1] > 1e-12:
                    shift = (middle - anchor[0]) / anchor[1]
                    beyond = max(abs(shift) - 0.5, 0.0)
                    middle = anchor[0] + math.copysign(beyond, shift) * anchor[1]
                    spread, trust = anchor[1] + max(spread - 1.5 * anchor[1], 0.0), 1 / (1 + 4 * beyond)
                value = trust * (score - middle) / spread if spread > 1e-12 else 0.0
                z = 8.0 - 8.0 * 8.0 / (8.0 + value) if value > 0 else max(value, -3.0)
            if heard < 1024 or heard % 16 == 0:
                kept.append(score)
            heard += 1
        found.append((z, trust))
    return found


def reference(raw: Floats, settled_at: int | None = None, lead: float = 0.0) -> tuple[Floats, Floats]:
    """Combined and z, literally, one part after the other."""
    parts = [part_z(raw[:, p].tolist(), settled_at if p == 0 else None) for p in range(raw.shape[1])]
    z = np.array(parts)[:, :, 0].T
    combined = []
    for (frozen, *others), (_, trust) in zip(z.tolist(), parts[0], strict=True):
        heard = [value for value in others if not math.isnan(value)]
        online = sum(heard) / len(heard) if heard else math.nan
        views = [frozen, (online * (1 - 0.25 * trust) if online > 0 else online) - lead]
        combined.append(max((view for view in views if not math.isnan(view)), default=math.nan))
    return np.array(combined), z


def scores(seed: int, n: int = 2_000, parts: int = 3) -> Floats:
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(n, parts)) * [1.0, 30.0, 2.0][:parts] + [0.4, -20.0, 7.0][:parts]
    raw[rng.random((n, parts)) < 0.02] += 50
    raw[:, 0] += np.linspace(0, 4, n)  # the frozen part's scores drift
    raw[rng.random((n, parts)) < 0.1] = np.nan
    raw[: n // 10, -1] = np.nan
    raw[:, -1] = np.round(raw[:, -1])  # and ties
    return raw


@pytest.mark.parametrize(("settled_at", "lead"), [(None, 0.0), (50, 0.0), (1_500, 0.0), (1_500, 2.0)])
def test_equals_the_reference_to_the_last_bit(settled_at: int | None, lead: float) -> None:
    raw, combiner = scores(3, 3_000), Combiner(3)
    found = [combiner.combine(raw[: settled_at or 0], lead)]
    if settled_at is not None:
        combiner.settle()
    found.append(combiner.combine(raw[settled_at or 0 :], lead))
    expected, expected_z = reference(raw, settled_at, lead)
    np.testing.assert_array_equal(np.concatenate([z for _, z in found]), expected_z)
    np.testing.assert_array_equal(np.concatenate([combined for combined, _ in found]), expected)


def test_the_oldest_kept_score_gives_way() -> None:
    raw, combiner = scores(4, 2 * KEPT * EVERY, 1), Combiner(1)
    combiner.combine(raw)
    heard = raw[~np.isnan(raw)]
    kept = np.concatenate([heard[:KEPT], heard[KEPT:][::EVERY]])[-KEPT:]
    np.testing.assert_array_equal(combiner.ordered[0], np.sort(kept))
    np.testing.assert_array_equal(np.sort(combiner.state[0, SCORES:]), np.sort(kept))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 2_000), max_size=20), st.integers(0, 99))
def test_batches_change_nothing(cuts: list[int], seed: int) -> None:
    raw, combiner = scores(seed), Combiner(3)
    parts = [combiner.combine(part)[0] for part in np.split(raw, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), Combiner(3).combine(raw)[0])


def test_a_part_is_silent_until_it_is_warm() -> None:
    raw = np.random.default_rng(0).normal(size=(1_000, 2))
    raw[:500, 1] = np.nan
    combined, z = Combiner(2).combine(raw)
    assert np.isnan(combined[:WARM_EVENTS]).all()
    assert np.isfinite(combined[WARM_EVENTS:]).all()
    assert np.isnan(z[: 500 + WARM_EVENTS, 1]).all()
    np.testing.assert_array_equal(combined[WARM_EVENTS : 500 + WARM_EVENTS], z[WARM_EVENTS : 500 + WARM_EVENTS, 0])
    weighted = np.where(z > 0, z * [1, ONLINE], z)
    np.testing.assert_array_equal(combined[500 + WARM_EVENTS :], weighted[500 + WARM_EVENTS :].max(axis=1))


def test_z_stays_below_the_cap_in_order_and_a_constant_part_says_0() -> None:
    raw = np.column_stack([np.random.default_rng(0).normal(size=500), np.full(500, 3.0)])
    raw[400:403, 0] = 1e3, 1e5, -1e9
    _, z = Combiner(2).combine(raw)
    assert 7 < z[400, 0] < z[401, 0] <= CAP
    assert z[402, 0] == FLOOR
    assert (z[WARM_EVENTS:, 1] == 0).all()


def test_a_classifier_that_nearly_always_says_the_same_is_heard() -> None:
    raw = np.full((2_000, 1), -6.9)
    raw[::400] = 6.9
    raw[1_990:] = np.linspace(-6, 6, 10)[:, None]
    _, z = Combiner(1).combine(raw)
    assert (np.diff(z[1_990:, 0]) > 0).all()
    assert z[1_999, 0] > 3


def test_a_long_burst_that_the_online_parts_learn_stays_odd() -> None:
    rng = np.random.default_rng(1)
    raw = rng.normal(size=(12_000, 3))
    burst = slice(8_000, 10_500)
    raw[burst, 0] += 10
    raw[burst, 1:] -= 2  # to them, the burst is the most usual thing there is
    combiner = Combiner(3)
    combiner.combine(raw[:4_000])
    combiner.settle()
    combined, _ = combiner.combine(raw[4_000:])
    found = combined[4_000:6_500]
    others = np.delete(combined, np.s_[4_000:6_500])
    assert np.quantile(found, 0.01) > np.quantile(others, 0.995)


def test_a_frozen_part_that_the_stream_has_left_is_measured_anew_and_trusted_less() -> None:
    rng = np.random.default_rng(2)
    raw = rng.normal(size=(60_000, 1))
    raw[20_000:] += 5
    combiner = Combiner(1)
    combiner.combine(raw[:10_000])
    combiner.settle()
    _, z = combiner.combine(raw[10_000:])
    assert np.median(z[10_000:12_000]) > 2  # at first all is odd
    assert abs(np.median(z[-20_000:])) < 0.2
    assert z[-20_000:].std() < z[:10_000].std() / 3


def test_the_shift_is_that_of_the_frozen_parts_usual_score_since_training_in_spreads() -> None:
    raw, combiner = np.random.default_rng(4).normal(10, 2, size=(60_000, 2)), Combiner(2)
    assert combiner.shift == 0  # nothing is known
    combiner.combine(raw[:20_000])
    assert combiner.shift == 0  # not settled
    combiner.settle()
    assert combiner.shift == 0
    combiner.combine(raw[20_000:40_000])
    assert abs(combiner.shift) < 0.2
    combiner.combine(raw[40_000:] - [6, 100])
    assert combiner.shift == pytest.approx(-3, abs=0.3)
    assert Combiner.from_arrays(dict(combiner.to_arrays()), 2).shift == combiner.shift


def test_state_travels_and_hostile_state_is_refused() -> None:
    raw, combiner = scores(3, 3_000), Combiner(3)
    combiner.combine(raw[:1_700])
    combiner.settle()
    assert combiner.state[0, SPREAD] > 0
    twin = Combiner.from_arrays(dict(combiner.to_arrays()), 3)
    np.testing.assert_array_equal(twin.combine(raw[1_700:])[0], combiner.combine(raw[1_700:])[0])
    good = combiner.to_arrays()["state"]
    half, infinite = good.copy(), good.copy()
    half[1, HEARD] += 0.5
    infinite[2, SCORES] = np.inf
    for bad in (good[:1], good.astype(np.float32), np.full_like(good, np.nan), -good, half, infinite):
        with pytest.raises(ModelError):
            Combiner.from_arrays({"state": bad}, 3)
