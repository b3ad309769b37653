from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.scoring.band_forests import REGIMES, Band, BandForests, Regime, frozen_from_arrays
from skimstream.scoring.errors import FeatureMismatch, ModelError
from skimstream.scoring.fink import bundle
from skimstream.scoring.forest import Forest
from skimstream.scoring.model import Model
from skimstream.scoring.onnx_forest import read_onnx
from skimstream.scoring.train import Options, train
from stage.onnx_trees import Ranges, evaluate, forest, to_bytes

Floats = np.ndarray[Any, np.dtype[np.float64]]

FEATURES = ("g_a", "g_b", "g_c", "r_a", "r_b", "r_c")
INPUTS = {"g": ("g_c", "g_a"), "r": ("r_a", "r_c")}  # g's in another order than the columns
COLUMNS = {"g": (2, 0), "r": (3, 5)}
RANGES: Ranges = [(-1.0, 1.0)] * 2
TREES = {"g": forest(1, RANGES), "r": forest(2, RANGES)}
FORESTS = {name: read_onnx(to_bytes(trees, 2), name) for name, trees in TREES.items()}
MEANS = {"g": np.array([0.1, -0.2]), "r": np.array([0.0, 0.3])}


def bands() -> dict[str, Band]:
    return {name: Band(FORESTS[name], INPUTS[name], MEANS[name]) for name in "gr"}


def made(regime: Regime) -> BandForests:
    return BandForests(bands(), regime, FEATURES)


def rows(seed: int = 0, n: int = 300) -> Floats:
    """Rows with gaps: single values, whole bands, everything."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.2, 1.2, (n, 6))
    X[rng.random(X.shape) < 0.1] = np.nan
    X[rng.random(n) < 0.2, :3] = np.nan
    X[rng.random(n) < 0.2, 3:] = np.nan
    return X


def plain(row: Floats, regime: Regime, present: tuple[bool, bool]) -> float:
    """The rules, one row at a time."""
    scores, empty = [], []
    for name in "gr":
        cells = row[list(COLUMNS[name])]
        empty.append(bool(np.isnan(cells).all()))
        if np.isnan(cells).any() and regime == "C":
            continue
        if regime == "B" and empty[-1]:
            continue
        scores.append(evaluate(TREES[name], np.where(np.isnan(cells), MEANS[name], cells)))
    if regime == "A":
        return (scores[0] + scores[1]) / 2 if all(present) and not all(empty) else np.nan
    return min(scores, default=np.nan)


@settings(deadline=None, max_examples=20)
@given(regime=st.sampled_from(REGIMES), seed=st.integers(0, 2**32 - 1))
def test_scores_are_the_rules_to_the_last_bit(regime: Regime, seed: int) -> None:
    X = rows(seed, 60)
    present = np.random.default_rng(seed).random((len(X), 2)) < 0.7
    expected = [plain(row, regime, (bool(a), bool(b))) for row, (a, b) in zip(X, present, strict=True)]
    np.testing.assert_array_equal(made(regime).score_samples(X, present), expected)
    np.testing.assert_array_equal(made(regime).anomaly(X[:0]), [])


def test_a_band_counts_as_present_if_it_has_any_feature() -> None:
    X = rows()
    present = np.column_stack([~np.isnan(X[:, list(COLUMNS[name])]).all(axis=1) for name in "gr"])
    np.testing.assert_array_equal(made("A").score_samples(X), made("A").score_samples(X, present))


@pytest.mark.parametrize("regime", REGIMES)
def test_a_row_alone_scores_as_among_others(regime: Regime) -> None:
    X, forests = rows(), made(regime)
    np.testing.assert_array_equal(np.concatenate([forests.anomaly(row[None]) for row in X]), forests.anomaly(X))


@pytest.mark.parametrize("huge", [1e300, np.inf])
def test_what_float32_cannot_hold_goes_where_infinity_goes(huge: float) -> None:
    row = np.array([[huge, 0.0, -huge, 0.0, 0.0, 0.0]])
    with np.errstate(over="ignore"):  # float32's infinity
        expected = evaluate(TREES["g"], row[0, [2, 0]])
    assert made("C").band_scores(row)[0, 0] == expected


@pytest.mark.parametrize("regime", REGIMES)
def test_arrays_hold_everything(regime: Regime) -> None:
    forests = made(regime)
    again = frozen_from_arrays(forests.to_arrays(), FEATURES)
    assert isinstance(again, BandForests)
    assert again.regime == regime
    np.testing.assert_array_equal(again.anomaly(rows()), forests.anomaly(rows()))


def test_inputs_are_found_by_name_whatever_the_columns_order() -> None:
    turned = tuple(reversed(FEATURES))
    again = BandForests.from_arrays(made("B").to_arrays(), turned)
    np.testing.assert_array_equal(again.anomaly(rows()[:, ::-1].copy()), made("B").anomaly(rows()))


def test_an_input_that_no_column_has_is_named() -> None:
    with pytest.raises(FeatureMismatch, match="'g_c'"):
        BandForests.from_arrays(made("B").to_arrays(), ("g_a", "g_b", "r_a", "r_c"))


WRONG: dict[str, dict[str, Any]] = {
    "regime": {"regime": np.array("D")},
    "bands": {"bands": np.array(["g", "../r"])},
    "bands twice": {"bands": np.array(["g", "g"])},
    "too many bands": {"bands": np.array([f"b{i}" for i in range(100)])},
    "no inputs": {"g.inputs": np.array([], "U4")},
    "one input twice": {"g.inputs": np.array(["g_a", "g_a"])},
    "too few inputs": {"g.inputs": np.array(["g_a"])},
    "numbers as inputs": {"g.inputs": np.array([1, 2])},
    "too few means": {"g.means": np.array([0.0])},
    "means of NaN": {"g.means": np.array([0.0, np.nan])},
    "means of float32": {"g.means": np.array([0.0, 0.0], np.float32)},
    "a stranger": {"g.more": np.array([0.0])},
    "a forest of another kind": {"g.forest.kind": np.array("isolation")},
    "a broken forest": {"g.forest.tree_sizes": np.array([1], np.int64)},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_arrays_of_strangers_are_checked(wrong: str) -> None:
    with pytest.raises(ModelError):
        BandForests.from_arrays(made("B").to_arrays() | WRONG[wrong], FEATURES)


def test_every_array_is_needed() -> None:
    arrays = made("B").to_arrays()
    for name in arrays:
        with pytest.raises(ModelError):
            frozen_from_arrays({key: array for key, array in arrays.items() if key != name}, FEATURES)


def test_means_are_not_needed_where_nothing_is_filled() -> None:
    none = {name: Band(FORESTS[name], INPUTS[name], np.full(2, np.nan)) for name in "gr"}
    np.testing.assert_array_equal(BandForests(none, "C", FEATURES).anomaly(rows()), made("C").anomaly(rows()))
    with pytest.raises(ModelError, match="mean of each input"):
        BandForests(none, "B", FEATURES)


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(ModelError, match=r"float64\[n, 6\]"):
        made("C").anomaly(np.zeros((2, 5)))


def test_only_forests_of_weights_are_taken() -> None:
    estimator_forest = train("t", ("a", "b"), ("1", "1"), rows()[:, :2].repeat(5, 0), options=Options(trees=2)).forest
    assert isinstance(estimator_forest, Forest)
    with pytest.raises(ModelError, match="expected additive"):
        BandForests({"g": Band(estimator_forest, ("g_a", "g_b"), MEANS["g"])}, "C", FEATURES)


@pytest.fixture(scope="module")
def base() -> Model:
    X = np.random.default_rng(5).normal(size=(1_200, 6))
    return train("ztf", FEATURES, ("mag",) * 6, X, options=Options(trees=5))


def test_a_bundle_of_them_scores_what_is_missing_by_their_own_rule(base: Model, tmp_path: Path) -> None:
    model = bundle(base, made("C"), {"source": ["here"]})
    model.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert (loaded.id, loaded.training["online_part_of"]) == (model.id, base.id)
    X = rows()
    scores = loaded.ensemble().score_learn(X)
    np.testing.assert_array_equal(scores.raw[:, 0], made("C").anomaly(X))
    assert np.isnan(scores.raw[:, 0]).any()  # both bands incomplete: that part is silent, the other speaks
    assert np.isfinite(scores.combined[-100:]).all()
    assert np.isnan(scores.score[:100]).all()
    assert np.isfinite(scores.score[-100:]).all()


def test_the_online_part_goes_on_where_the_base_was(base: Model) -> None:
    X = rows()
    ours, theirs = bundle(base, made("C"), {}).ensemble().score_learn(X), base.ensemble().score_learn(X)
    np.testing.assert_array_equal(ours.raw[:, 1], theirs.raw[:, 1])
    np.testing.assert_array_equal(ours.z[:, 1], theirs.z[:, 1])


def test_batches_change_no_bit(base: Model) -> None:
    X, model = rows(), bundle(base, made("B"), {})
    whole, parts = model.ensemble().score_learn(X).combined, model.ensemble()
    cut = np.concatenate([parts.score_learn(X[i : i + 7]).combined for i in range(0, len(X), 7)])
    np.testing.assert_array_equal(cut, whole)


def test_a_base_of_other_features_is_refused(base: Model) -> None:
    forests = BandForests(bands(), "B", tuple(reversed(FEATURES)))
    with pytest.raises(FeatureMismatch):
        bundle(base, forests, {})
