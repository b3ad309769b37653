import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from skimstream.scoring.errors import ModelError
from skimstream.scoring.model import Model
from skimstream.scoring.predictor import Predictor
from skimstream.scoring.probability import (
    FEWEST_LABELS,
    ISOTONIC_LABELS,
    MOST_KNOTS,
    Method,
    Probability,
    brier,
    calibrate,
    expected_calibration_error,
    judged,
)
from skimstream.scoring.train import Options, train

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
METHODS: tuple[Method, ...] = ("isotonic", "platt")
NAMES, UNITS = ("a", "b", "c"), ("1", "1", "1")


def drawn(n: int, seed: int) -> tuple[Floats, Floats, Bools]:
    """Votes, the true probability behind each (a logistic curve in their log-odds), labels."""
    rng = np.random.default_rng(seed)
    votes = rng.beta(0.5, 3, n)
    truth = 1 / (1 + np.exp(-(1.7 * np.log(votes / (1 - votes)) + 0.8)))
    return votes, truth, rng.random(n) < truth


@pytest.mark.parametrize("method", METHODS)
def test_votes_become_the_probability_behind_the_labels(method: Method) -> None:
    votes, _, labels = drawn(20_000, 1)
    curve = Probability.fit(votes, labels, method)
    assert curve.method == method
    fresh, truth, outcome = drawn(20_000, 2)
    probability = curve.apply(fresh)
    assert np.abs(probability - truth).mean() < 0.01
    assert expected_calibration_error(probability, outcome) < 0.012
    assert expected_calibration_error(fresh, outcome) > 0.03  # the votes themselves are no probability here
    assert brier(probability, outcome) < brier(fresh, outcome)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(60, 300))
def test_any_fit_rises_stays_inside_and_survives_a_file(method: Method, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 38, n) / 37  # as few trees give them, with ties
    labels = rng.random(n) < np.clip(votes, 0.1, 0.9)
    assume(min(labels.sum(), (~labels).sum()) >= FEWEST_LABELS)
    curve = Probability.fit(votes, labels, method)
    everywhere = curve.apply(np.linspace(0, 1, 1_001))
    assert (np.diff(everywhere) >= 0).all()
    assert everywhere[0] >= 0
    assert everywhere[-1] <= 1
    again = Probability.from_arrays(curve.to_arrays())
    np.testing.assert_array_equal(again.apply(votes), curve.apply(votes))


@pytest.mark.parametrize("method", METHODS)
def test_no_probability_is_surer_than_the_labels_allow(method: Method) -> None:
    votes = np.concatenate([np.zeros(500), np.ones(60)])
    probability = Probability.fit(votes, votes > 0, method).apply(np.array([0.0, 1.0]))
    np.testing.assert_allclose(probability, [1 / 502, 61 / 62], rtol=1e-3)


def test_what_is_missing_stays_missing() -> None:
    votes, _, labels = drawn(1_000, 3)
    for method in METHODS:
        assert np.isnan(Probability.fit(votes, labels, method).apply(np.array([np.nan]))).all()


def test_few_labels_take_the_simpler_curve_and_fewer_give_none() -> None:
    votes = np.random.default_rng(0).random(3_000)
    for anomalies, expected in (
        (ISOTONIC_LABELS, "isotonic"),
        (ISOTONIC_LABELS - 1, "platt"),
        (FEWEST_LABELS, "platt"),
    ):
        labels = np.zeros(3_000, np.bool_)
        labels[np.argsort(-votes)[: 2 * anomalies : 2]] = True
        curve, figures = calibrate(votes, labels, seed=0)
        assert curve is not None
        assert curve.method == figures["calibration"] == expected
    few = np.zeros(3_000, np.bool_)
    few[: FEWEST_LABELS - 1] = True
    curve, figures = calibrate(votes, few, seed=0)
    assert curve is None
    assert figures == {"calibration": "none: 19 anomalies and 2981 ordinary events; 20 of each are needed"}


def test_labels_that_the_votes_contradict_give_no_line() -> None:
    votes, _, labels = drawn(400, 4)
    with pytest.raises(ModelError, match="labels say nothing"):
        Probability.fit(1 - votes, labels, "platt")


@pytest.mark.parametrize("votes", [np.array([0.5, 1.5]), np.array([0.5, np.nan]), np.array([0.5])])
def test_what_are_no_votes_is_refused(votes: Floats) -> None:
    with pytest.raises(ModelError, match="votes from 0 to 1"):
        Probability.fit(votes, np.array([True, False]))


UP = np.linspace(0, 1, 5)
HOSTILE: dict[str, dict[str, Any]] = {
    "nothing known": {"z": UP},
    "a half": {"x": UP},
    "two curves": {"x": UP, "y": UP, "platt": np.ones(2)},
    "of two lengths": {"x": UP, "y": UP[1:]},
    "empty": {"x": np.zeros(0), "y": np.zeros(0)},
    "two dimensions": {"x": UP[np.newaxis], "y": UP[np.newaxis]},
    "float32": {"x": UP.astype(np.float32), "y": UP.astype(np.float32)},
    "text": {"x": np.array(["a"]), "y": np.array(["b"])},
    "x stands still": {"x": np.array([0.1, 0.1]), "y": np.array([0.1, 0.2])},
    "y falls": {"x": UP, "y": UP[::-1].copy()},
    "x beyond": {"x": UP * 2, "y": UP},
    "y beyond": {"x": UP, "y": UP - 0.5},
    "x not a number": {"x": np.array([0.0, np.nan]), "y": np.array([0.0, 1.0])},
    "y not a number": {"x": np.array([0.0, 1.0]), "y": np.array([np.nan, np.nan])},
    "too many knots": {"x": np.linspace(0, 1, MOST_KNOTS + 1), "y": np.linspace(0, 1, MOST_KNOTS + 1)},
    "a falling line": {"platt": np.array([-1.0, 0.0])},
    "a level line": {"platt": np.array([0.0, 0.0])},
    "a wall": {"platt": np.array([1e9, 0.0])},
    "an infinite line": {"platt": np.array([np.inf, 0.0])},
    "a line of no number": {"platt": np.array([1.0, np.nan])},
    "a line of three": {"platt": np.ones(3)},
}


@pytest.mark.parametrize("arrays", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_forged_curve_is_refused(arrays: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        Probability.from_arrays(arrays)


def test_brier_and_calibration_error_are_what_they_are_called() -> None:
    votes, _, labels = drawn(5_000, 5)
    assert brier(votes, labels) == pytest.approx(brier_score_loss(labels, votes))
    order = np.argsort(votes, kind="stable")
    expected = sum(abs(votes[part].mean() - labels[part].mean()) * len(part) for part in np.array_split(order, 10))
    assert expected_calibration_error(votes, labels) == pytest.approx(expected / 5_000, rel=1e-6)
    assert expected_calibration_error(np.full(4, 0.5), np.array([True, False, True, False])) == 0
    weights = np.random.default_rng(6).integers(0, 3, 5_000).astype(np.float64)
    assert brier(votes, labels, weights) == pytest.approx(brier_score_loss(labels, votes, sample_weight=weights))
    both = np.array([0.2, 0.2, 0.8, 0.8]), np.array([True, False, True, True])
    assert expected_calibration_error(*both, np.array([0.0, 3, 1, 1])) == pytest.approx((3 * 0.2 + 2 * 0.2) / 5)
    figures = judged("votes", votes, labels, seed=1)
    low, high = figures["votes_brier_interval"]
    assert low < figures["votes_brier"] < high < 1.2 * low
    assert judged("votes", votes, labels, seed=1) == figures


# In a model.


@pytest.fixture(scope="module")
def labelled() -> tuple[Floats, Bools]:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(4_000, 3))
    return rows, rng.random(4_000) < 1 / (1 + np.exp(-(2.5 * rows[:, 0] - 4)))


@pytest.fixture(scope="module")
def model(labelled: tuple[Floats, Bools]) -> Model:
    return train("test", NAMES, UNITS, *labelled, options=Options(trees=40))


def test_a_trained_classifier_is_calibrated_and_says_how_well(model: Model) -> None:
    assert model.probability is not None
    metrics = model.metrics
    assert metrics["calibration"] == "isotonic"
    assert 0 < metrics["calibrated_brier"] < metrics["base_rate_brier"]
    low, high = metrics["calibrated_ece_interval"]
    assert 0 <= low <= metrics["calibrated_ece"] <= high < 0.06
    rng = np.random.default_rng(8)
    fresh = rng.normal(size=(4_000, 3))
    outcome = rng.random(4_000) < 1 / (1 + np.exp(-(2.5 * fresh[:, 0] - 4)))
    probability = model.probability.apply(model.forest.anomaly(model.reference.fill(fresh)[0]))
    assert expected_calibration_error(probability, outcome) < 0.03
    json.dumps(dict(metrics), allow_nan=False)


def test_the_probability_travels_in_the_bundle(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert loaded.id == model.id
    assert loaded.probability is not None
    assert model.probability is not None
    votes = np.linspace(0, 1, 101)
    np.testing.assert_array_equal(loaded.probability.apply(votes), model.probability.apply(votes))
    use = f"Predictor({str(tmp_path)!r}).predict_single({{'a': 3.0}})"
    known = "any(name in sys.modules for name in ('sklearn', 'river'))"
    check = f"import sys; from skimstream.scoring import Predictor; {use}; sys.exit({known})"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_an_isolation_forest_with_a_probability_is_refused(model: Model, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(1_500, 3))
    isolation = train("test", NAMES, UNITS, rows, options=Options(trees=10))
    assert isolation.probability is None
    object.__setattr__(isolation, "probability", model.probability)
    isolation.save(tmp_path)
    with pytest.raises(ModelError, match="only a classifier"):
        Model.load(tmp_path)


def test_the_predictor_gives_the_calibrated_probability(model: Model) -> None:
    predictor = Predictor(model)
    event = {"a": 3.0, "b": 0.0, "c": 0.0}
    result = predictor.predict_single(event)
    assert model.probability is not None
    votes = model.forest.anomaly(model.reference.fill(np.array([[3.0, 0.0, 0.0]]))[0])
    probability = result["anomaly_probability"]
    assert probability == model.probability.apply(votes)[0]
    assert probability is not None
    assert result["confidence"] == max(probability, 1 - probability)
    assert result["is_anomaly"] == (probability > 0.5)
    info = predictor.get_model_info()
    assert info["calibrated"] is True
    assert info["brier"] == model.metrics["calibrated_brier"]
    assert info["expected_calibration_error"] == model.metrics["calibrated_ece"]


def test_without_enough_labels_votes_stay_votes(labelled: tuple[Floats, Bools]) -> None:
    rows, _ = labelled
    rare = rows[:, 0] >= np.sort(rows[:, 0])[-FEWEST_LABELS + 1]
    model = train("test", NAMES, UNITS, rows, rare, options=Options(trees=20))
    assert model.probability is None
    assert model.metrics["calibration"].startswith("none: 19 anomalies")
    predictor = Predictor(model)
    result = predictor.predict_single({"a": 3.0})
    assert predictor.get_model_info()["calibrated"] is False
    assert predictor.get_model_info()["brier"] is None
    assert result["confidence"] is None
    assert result["anomaly_probability"] is not None
