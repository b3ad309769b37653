"""Figures against scikit-learn's, and intervals that hold what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, roc_auc_score

from skimstream.scoring.errors import ModelError
from skimstream.scoring.measure import FIGURES, Judge, Reliability, bootstrap, groups_of

rows = st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 3)), min_size=6, max_size=60)


@settings(deadline=None)
@given(rows)
def test_curves_are_scikit_learns_with_ties_and_weights(drawn: list[tuple[bool, int, int]]) -> None:
    labels = np.array([one[0] for one in drawn])
    scores = np.array([one[1] for one in drawn], np.float64)
    weights = np.array([one[2] for one in drawn], np.float64)
    if not (weights[labels].sum() and weights[~labels].sum()):
        return
    curve = Judge(labels, scores).curve(weights)
    assert curve.roc_auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
    expected = average_precision_score(labels, scores, sample_weight=weights)
    assert curve.average_precision == pytest.approx(expected, abs=1e-12)


def test_a_threshold_calls_what_lies_above_it() -> None:
    labels, scores = np.array([True, True, False, False]), np.array([0.9, 0.5, 0.5, 0.1])
    judge = Judge(labels, scores)
    assert tuple(judge.confusion(0.5)) == (1, 0, 1, 2)
    (tn, fp), (fn, tp) = confusion_matrix(labels, scores > 0.3)
    at = judge.confusion(0.3)
    assert tuple(at) == (tp, fp, fn, tn)
    assert at.f1 == pytest.approx(f1_score(labels, scores > 0.3))
    assert (at.precision, at.recall, at.false_positive_rate, at.accuracy) == (2 / 3, 1.0, 0.5, 0.75)


@settings(deadline=None)
@given(rows)
def test_no_other_threshold_has_a_better_f1(drawn: list[tuple[bool, int, int]]) -> None:
    labels, scores = np.array([one[0] for one in drawn]), np.array([one[1] for one in drawn], np.float64)
    if not labels.any():
        return
    judge = Judge(labels, scores)
    best = judge.confusion(judge.best_threshold()).f1
    assert best == pytest.approx(max(judge.confusion(at - 0.5).f1 for at in range(9)))


def test_all_normal_has_the_base_rate() -> None:
    labels = np.arange(20) < 2
    figures = dict(zip(FIGURES, Judge(labels, np.zeros(20)).figures(np.inf), strict=True))
    assert np.isnan(figures.pop("precision"))
    assert figures == {
        "recall": 0,
        "f1": 0,
        "roc_auc": 0.5,
        "average_precision": 0.1,
        "false_positive_rate": 0,
        "accuracy": 0.9,
    }


def test_what_isnt_there_is_nan_and_what_cant_be_judged_is_refused() -> None:
    assert np.isnan(Judge(np.zeros(3, np.bool_), np.arange(3.0)).curve().roc_auc)
    for scores in (np.array([1.0, np.nan]), np.zeros(3), np.zeros((2, 1))):
        with pytest.raises(ModelError, match="one a row"):
            Judge(np.array([True, False]), scores)


def test_intervals_cover_and_widen_where_rows_come_in_groups() -> None:
    rng, covered, widths = np.random.default_rng(1), 0, []
    for _ in range(100):
        people = np.repeat(rng.normal(size=30), 20)  # 20 equal rows each: worth 30, not 600

        def mean(weights: "np.ndarray[tuple[int], np.dtype[np.float64]]", values: object = people) -> object:
            return np.array([np.average(np.asarray(values), weights=weights)])

        groups = np.repeat(np.arange(30), 20)
        (low,), (high,) = bootstrap(mean, groups, 200)  # type: ignore[arg-type]
        (narrow_low,), (narrow_high,) = bootstrap(mean, np.arange(600), 200)  # type: ignore[arg-type]
        covered += bool(low <= 0 <= high)
        widths.append((high - low) / (narrow_high - narrow_low))
    assert 85 <= covered <= 99
    assert 3.5 < np.mean(widths) < 5.5  # sqrt(20)


def test_the_same_seed_gives_the_same_interval() -> None:
    labels = np.arange(50) % 7 == 0
    judge = Judge(labels, np.sin(np.arange(50.0)))
    intervals = [bootstrap(lambda w: judge.figures(0.5, w), np.arange(50), 50, seed) for seed in (1, 1, 2)]
    assert np.array_equal(intervals[0], intervals[1])
    assert not np.array_equal(intervals[0], intervals[2])


def off(curve: Reliability) -> float:
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.rows))


def test_reliability() -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(size=4_000)
    labels = rng.uniform(size=4_000) < truth
    groups = groups_of(np.zeros(4_000, np.uint64))
    honest = Reliability.of(labels, truth, groups, 50)
    assert off(honest) < 0.03 < off(Reliability.of(labels, truth**3, groups, 50))
    assert honest.rows.sum() == 4_000
    assert ((honest.low <= honest.observed) & (honest.observed <= honest.high)).all()
