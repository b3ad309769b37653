"""Flattens a fitted scikit-learn forest: the one file that knows scikit-learn's insides, and imports it.

Read in scikit-learn 1.9. It has no public way to a tree's path lengths or to its columns, so private attributes
are read; the proof at the end, and the tests, notice if they change their meaning.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.ensemble._iforest import _average_path_length
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .errors import ModelError
from .forest import Forest

PROBES = 256
FLOAT32_MAX = np.finfo(np.float32).max


def convert(estimator: IsolationForest | RandomForestClassifier, *, allow_nan: bool) -> Forest:
    """As `Forest.from_sklearn`."""
    if not isinstance(estimator, IsolationForest | RandomForestClassifier):
        raise ModelError(
            f"is {type(estimator).__name__}, expected IsolationForest or RandomForestClassifier", where="estimator"
        )
    try:
        check_is_fitted(estimator)
        forest = Forest.from_arrays(_flatten(estimator, allow_nan))
    except AttributeError as error:  # scikit-learn's NotFittedError is one, too
        raise ModelError(f"is not fitted, or by an unknown scikit-learn: {error}", where="estimator") from error
    _prove(forest, estimator)
    return forest


def floor32(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest finite float32 not above each number (+inf, "all but NaN goes left", counts as very large).

    >>> float(floor32(np.array([0.1]))[0]) <= 0.1, float(np.float32(0.1)) <= 0.1
    (True, False)
    """
    with np.errstate(over="ignore"):
        nearest = threshold.astype(np.float32)
        floor = np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return np.minimum(floor, FLOAT32_MAX)


def _flatten(estimator: Any, allow_nan: bool) -> dict[str, NDArray[Any]]:
    """The arrays that `Forest.from_arrays` takes."""
    isolation = isinstance(estimator, IsolationForest)
    if isolation:
        values = [
            (length + average - 1.0)[:, np.newaxis]  # this very expression, tree by tree, is scikit-learn's
            for length, average in zip(
                estimator._decision_path_lengths,  # noqa: SLF001
                estimator._average_path_length_per_tree,  # noqa: SLF001
                strict=True,
            )
        ]
        own: dict[str, Any] = {"expected_path": np.float64(_average_path_length([estimator._max_samples])[0])}  # noqa: SLF001
    else:
        if estimator.n_outputs_ != 1:
            raise ModelError(f"has {estimator.n_outputs_} outputs, expected 1", where="estimator")
        values = [tree.tree_.value[:, 0, :] for tree in estimator.estimators_]
        own = {"classes": np.array(estimator.classes_.tolist())}  # strings often come as Python objects

    parts = [
        _breadth_first(tree.tree_, columns, value)
        for tree, columns, value in zip(estimator.estimators_, _columns(estimator), values, strict=True)
    ]
    feature, threshold, missing_left, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    tags = get_tags(estimator if isolation else estimator.estimators_[0])
    scalars = {
        "kind": np.str_("isolation" if isolation else "classifier"),
        "n_features": np.int64(estimator.n_features_in_),
        "takes_nan": np.bool_(allow_nan and tags.input_tags.allow_nan),
    }
    return {name: np.asarray(scalar) for name, scalar in (scalars | own).items()} | {
        "tree_sizes": np.array([len(part[0]) for part in parts], np.int64),
        "feature": feature,
        "threshold": threshold,
        "missing_left": missing_left,
        "value": value,
    }


def _breadth_first(tree: Any, columns: NDArray[np.intp], value: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
    """One tree's feature, threshold, missing_left and value, level by level, siblings side by side."""
    levels = [np.zeros(1, np.intp)]
    while (parents := levels[-1][tree.children_left[levels[-1]] >= 0]).size:
        levels.append(np.stack([tree.children_left[parents], tree.children_right[parents]], axis=1).ravel())
    order = np.concatenate(levels)
    leaf = tree.children_left[order] < 0
    feature = np.where(leaf, -1, columns[np.where(leaf, 0, tree.feature[order])]).astype(np.int16)
    threshold = np.where(leaf, np.float32(np.inf), floor32(tree.threshold[order]))
    return feature, threshold, tree.missing_go_to_left[order].astype(np.bool_), value[order]


def _columns(estimator: Any) -> list[NDArray[np.intp]]:
    """For each tree, the columns of X that it numbers 0, 1, ..."""
    if isinstance(estimator, IsolationForest):  # with max_features < 1 each tree sees some columns only
        return list(estimator.estimators_features_)
    return [np.arange(estimator.n_features_in_)] * len(estimator.estimators_)


def _prove(forest: Forest, estimator: Any) -> None:
    """Raise ModelError unless forest and estimator give the same bits for PROBES rows."""
    rows = _probes(forest, estimator)
    oracle = copy.copy(estimator)
    oracle.n_jobs = 1  # with more, scikit-learn adds the trees up in any order
    vars(oracle).pop("feature_names_in_", None)  # or it would warn that the probes have no names
    ours, theirs = (
        (forest.score_samples, oracle.score_samples)
        if forest.kind == "isolation"
        else (forest.predict_proba, oracle.predict_proba)
    )
    expected = theirs(rows)
    got = np.concatenate([ours(rows[:5]), ours(rows[5:])])  # few rows and many have a loop of their own each
    if not np.array_equal(got, expected):
        differ = int((got != expected).reshape(PROBES, -1).any(axis=1).sum())
        raise ModelError(
            f"scores {differ} of {PROBES} probes unlike its flat copy: is this version of scikit-learn supported?",
            where="estimator",
        )


def _probes(forest: Forest, estimator: Any) -> NDArray[np.float64]:
    """Rows spread over the thresholds' range, each then put on, or just above, a threshold it meets in some tree."""
    random = np.random.default_rng(0)
    columns = _columns(estimator)
    arrays = forest.to_arrays()
    rows = random.normal(size=(PROBES, forest.n_features))
    for column in np.unique(arrays["feature"][arrays["feature"] >= 0]):
        thresholds = arrays["threshold"][arrays["feature"] == column].astype(np.float64)
        low, high = thresholds.min(), thresholds.max()
        margin = 0.1 * (high - low)
        rows[:, column] = random.uniform(low - margin, high + margin, PROBES).clip(-FLOAT32_MAX, FLOAT32_MAX)
    for number, row in enumerate(rows):
        chosen = random.integers(forest.n_trees)
        tree = estimator.estimators_[chosen].tree_
        path = tree.decision_path(row[np.newaxis, columns[chosen]].astype(np.float32)).indices
        inner = path[tree.children_left[path] >= 0]
        if inner.size:
            node = random.choice(inner)
            exact = tree.threshold[node]
            below = floor32(exact[np.newaxis])[0]
            planted = (exact, below, np.nextafter(below, FLOAT32_MAX))[number % 3]
            if abs(planted) <= FLOAT32_MAX:
                row[columns[chosen][tree.feature[node]]] = planted
    if forest.takes_nan:
        rows[3::4][random.random(rows[3::4].shape) < 0.2] = np.nan
    return rows
