"""What a forest says of each feature: the steps add up, and are those of a plain walk, NaN included."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestClassifier

from skimstream.scoring.band_forests import Band, BandForests, Regime
from skimstream.scoring.forest import Forest

Floats = NDArray[np.float64]
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(600, 6))
LABELS = ROWS[:, 0] + ROWS[:, 3] > 1.5


def children(feature: NDArray[np.int16], sizes: NDArray[np.int64]) -> dict[int, int]:
    """Left child by inner node, told from the order in which nodes are kept."""
    found, root = {}, 0
    for size in sizes.tolist():
        inner = 0
        for node in range(root, root + size):
            if feature[node] >= 0:
                found[node] = root + 1 + 2 * inner
                inner += 1
        root += size
    return found


def plainly(forest: Forest, rows: Floats) -> tuple[Floats, Floats]:
    """Contributions (before sign and mean), and the sum over the trees of leaf minus root."""
    arrays = forest.to_arrays()
    feature, value = arrays["feature"], arrays["value"][:, -1].copy()
    left = children(feature, arrays["tree_sizes"])
    if forest.kind == "additive":
        leaves: dict[int, list[float]] = {}
        for node in range(len(feature) - 1, -1, -1):
            below = [value[node]] if node not in left else leaves[left[node]] + leaves[left[node] + 1]
            leaves[node], value[node] = below, np.mean(below)
    total, whole = np.zeros(rows.shape), np.zeros(len(rows))
    roots = np.cumsum(arrays["tree_sizes"]) - arrays["tree_sizes"]
    for i, row in enumerate(rows.astype(np.float32)):
        for root in roots.tolist():
            node = root
            while node in left:
                cell = row[feature[node]]
                goes_left = arrays["missing_left"][node] if np.isnan(cell) else cell <= arrays["threshold"][node]
                child = left[node] + (0 if goes_left else 1)
                total[i, feature[node]] += value[child] - value[node]
                node = child
            whole[i] += value[node] - value[root]
    return total, whole


def isolation(**options: Any) -> Forest:
    return Forest.from_sklearn(IsolationForest(n_estimators=30, random_state=0, **options).fit(ROWS))


def test_path_lengths_come_from_the_root_as_scikit_learn_expects_them() -> None:
    estimator = IsolationForest(n_estimators=30, random_state=0).fit(ROWS)
    forest = Forest.from_sklearn(estimator)
    path = -np.log2(-estimator.score_samples(ROWS))  # the mean path / c(max_samples)
    c = float(forest.to_arrays()["expected_path"])  # each root has max_samples rows, and expects c of them
    np.testing.assert_allclose(forest.contributions(ROWS).sum(axis=1), c - path * c, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"max_features": 0.5}, {"max_samples": 2}, {"max_samples": 1}])
def test_an_isolation_forest_steps_as_a_plain_walk(options: dict[str, Any]) -> None:
    forest, rows = isolation(**options), ROWS[:60].copy()
    rows[::3, 1] = np.nan
    total, whole = plainly(forest, rows)
    found = forest.contributions(rows)
    np.testing.assert_array_equal(found, total / -30)
    np.testing.assert_allclose(found.sum(axis=1), -whole / 30, rtol=0, atol=1e-12)


def test_a_classifier_moves_from_the_mean_share_to_its_probability() -> None:
    estimator = RandomForestClassifier(20, random_state=0).fit(ROWS, LABELS)
    forest = Forest.from_sklearn(estimator)
    total, _ = plainly(forest, ROWS[:60])
    found = forest.contributions(ROWS[:60])
    np.testing.assert_array_equal(found, total / 20)
    start = np.mean([tree.tree_.value[0, 0, 1] for tree in estimator.estimators_])
    np.testing.assert_allclose(found.sum(axis=1), forest.anomaly(ROWS[:60]) - start, rtol=0, atol=1e-12)
    assert set(np.argsort(-np.abs(found).sum(axis=0))[:2].tolist()) == {0, 3}


def test_what_is_far_out_is_what_counts_and_rows_beside_change_nothing() -> None:
    forest = isolation()
    rows = np.zeros((17, 6))
    rows[5, 2] = 9.0
    found = forest.contributions(rows)
    assert np.argmax(found[5]) == 2
    assert found[5, 2] > 0
    for row in range(17):
        np.testing.assert_array_equal(forest.contributions(rows[row : row + 1])[0], found[row])
    assert forest.contributions(rows[:0]).shape == (0, 6)


def additive(seed: int, n_features: int) -> Forest:
    """A forest with leaves of any weight, otherwise as ONNX files have them."""
    rows = np.random.default_rng(seed).normal(size=(200, n_features))
    arrays = Forest.from_sklearn(
        IsolationForest(n_estimators=8, random_state=seed).fit(rows), allow_nan=False
    ).to_arrays()
    del arrays["expected_path"]
    leaf = arrays["feature"] < 0
    weights = np.random.default_rng(seed + 1).normal(size=leaf.shape) * leaf
    return Forest.from_arrays(arrays | {"kind": np.array("additive"), "value": weights.reshape(-1, 1)})


def test_additive_forests_expect_the_mean_of_their_leaves() -> None:
    forest = additive(1, 3)
    total, whole = plainly(forest, ROWS[:40, :3])
    found = forest.contributions(ROWS[:40, :3])
    np.testing.assert_allclose(found, -total, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), -whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("regime", ["A", "B", "C"])
def test_of_bands_the_one_that_counts_is_told(regime: Regime) -> None:
    means = np.zeros(2)
    bands = {"g": Band(additive(1, 2), ("b", "a"), means), "r": Band(additive(2, 2), ("c", "d"), means)}
    forests = BandForests(bands, regime, ["a", "b", "c", "d"])
    rows = ROWS[:50, :4].copy()
    rows[:10, 2:] = np.nan  # no r
    rows[10:20, 0] = np.nan  # g in part
    rows[20:25] = np.nan
    found, scores, each = forests.contributions(rows), forests.score_samples(rows), forests.band_scores(rows)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.isnan(scores))
    own = {"g": [1, 0], "r": [2, 3]}
    for row in np.flatnonzero(~np.isnan(scores)):
        expected = np.zeros(4)
        for place, (name, columns) in enumerate(own.items()):
            if regime == "A" or each[row, place] == scores[row]:
                inputs = np.nan_to_num(rows[row : row + 1, columns])
                expected[columns] += bands[name].forest.contributions(inputs)[0] / (2 if regime == "A" else 1)
        np.testing.assert_array_equal(found[row], expected)
    assert np.isfinite(scores).sum() > 25
