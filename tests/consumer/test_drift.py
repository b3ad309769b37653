"""The population stability index: 0 where nothing moved, large where much did, and nothing that the hot path feels."""

import itertools

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from skimstream.consumer.drift import EVERY_SECONDS, FEWEST, HALF_LIFE, Drift
from skimstream.scoring.prepare import Reference
from stage.listed import Listed, Topic, recorder, sessions

RNG = np.random.default_rng(7)
TRAINED = RNG.normal(size=(20_000, 3))


def seen(matrix: np.ndarray, reference: Reference | None = None) -> Drift:
    drift = Drift(reference or Reference.fit(TRAINED))
    drift.see(matrix, 0.0)
    return drift


def by_the_book(trained: np.ndarray, events: np.ndarray) -> float:
    """The index of one continuous feature, as the books have it."""
    edges = [-np.inf, *np.quantile(trained, np.arange(1, 10) / 10), np.inf]
    expected, actual = (np.histogram(values, edges)[0] / len(values) for values in (trained, events))
    actual = np.maximum(actual, 1e-4)
    return float(((actual - expected) * np.log(actual / expected)).sum())


@given(st.floats(-2, 2), st.floats(0.3, 3), st.integers(0, 100))
def test_it_is_what_the_books_say(shift: float, width: float, seed: int) -> None:
    events = np.random.default_rng(seed).normal(shift, width, size=(2_000, 3))
    expected = [by_the_book(t, e) for t, e in zip(TRAINED.T, events.T, strict=True)]
    assert seen(events).index() == pytest.approx(expected, rel=0.05, abs=0.01)


def test_what_did_not_move_is_near_0_and_what_moved_far_is_not() -> None:
    index = seen(RNG.normal([0, 0.5, 5], 1, size=(3_000, 3))).index()
    assert index[0] < 0.02
    assert 0.15 < index[1] < 0.4
    assert 3 < index[2] < 10


def test_flags_and_constants_have_bins_too() -> None:
    """A flag that 3 % of training have; a feature that never varied; one that training never saw."""
    flags = (RNG.random((10_000, 1)) < 0.03).astype(float)
    trained = np.hstack([flags, np.ones((10_000, 1)), np.full((10_000, 1), np.nan)])
    reference = Reference.fit(trained)
    same, moved = seen(trained[:3_000], reference).index(), trained[:3_000].copy()
    assert same[:2] == pytest.approx([0, 0], abs=0.01)
    assert np.isnan(same[2])
    moved[:, 0], moved[:, 1] = 1.0, 2.0
    assert (seen(moved, reference).index()[:2] > 1).all()


def test_missing_values_are_left_out_and_few_are_not_judged() -> None:
    events = RNG.normal(size=(int(2 * FEWEST), 3))
    events[::2, 1] = np.nan
    events[2:, 2] = np.inf
    index = seen(events).index()
    assert (index[:2] < 0.06).all()
    assert np.isnan(index[2])
    assert np.isnan(Drift(Reference.fit(TRAINED)).index()).all()


def test_it_looks_once_a_second_and_forgets() -> None:
    drift, moved = Drift(Reference.fit(TRAINED)), RNG.normal(9, 1, size=(1_000, 3))
    drift.see(moved, 10.0)
    before = drift.index()
    drift.see(TRAINED[:1_000], 10.0 + EVERY_SECONDS / 2)
    assert (drift.index() == before).all()
    for second in range(int(20 * HALF_LIFE / len(TRAINED))):
        drift.see(TRAINED, 12.0 + second)
    assert (drift.index() < 0.02).all()


def test_a_worker_tells_the_drift_of_its_features(store: redis.Redis) -> None:
    """Of fewer users than in training: what a session is stays, how often a user comes does not."""
    ticks = itertools.count(1.0)
    worker = recorder(store, clock=lambda: next(ticks))
    source = Listed(Topic({0: list(sessions(1_500))}), itertools.repeat(250))
    worker.run(source, lambda: source.done)
    worker.report(source)
    found = {
        feature: worker.metrics.registry.get_sample_value(
            "skim_feature_drift", {"stream": "behaviour", "feature": feature}
        )
        for feature in worker.stream.features
    }
    told = {feature: index for feature, index in found.items() if index is not None}
    assert len(told) > 10
    assert told["clicks_count"] < 0.05
    assert told["events_1h"] > 1
