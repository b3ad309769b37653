"""A flat forest gives scikit-learn's bits, and refuses what it cannot score. (Its arrays: test_forest_arrays.py.)"""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest, RandomForestClassifier
from sklearn.utils import get_tags

from skimstream.scoring import forest_sklearn
from skimstream.scoring.errors import FeatureMismatch, ModelError, RowRefused
from skimstream.scoring.forest import Forest
from skimstream.scoring.forest_kernel import add_values

Arrays = dict[str, NDArray[Any]]
FLOAT32_MAX = float(np.finfo(np.float32).max)


# ---- forests, and rows that are hard for them


def rows_of(n: int, columns: int = 6, seed: int = 0) -> NDArray[np.float64]:
    """Continuous columns, one of small whole numbers, one tiny, one huge."""
    rows = np.random.default_rng(seed).normal(size=(n, columns))
    rows[:, 1] = np.round(rows[:, 1] * 2)
    rows[:, 2] *= 1e-30
    rows[:, 3] *= 1e30
    return rows


def with_nan(rows: NDArray[np.float64], share: float = 0.1, seed: int = 1) -> NDArray[np.float64]:
    holes = np.random.default_rng(seed).random(rows.shape) < share
    return np.where(holes, np.nan, rows)


def labels_of(rows: NDArray[np.float64], k: int = 2) -> NDArray[np.int64]:
    signal = np.nan_to_num(rows[:, 0]) + np.isnan(rows[:, 4]) + rows[:, 5] ** 2
    noisy = np.nan_to_num(signal) + np.random.default_rng(2).normal(size=len(rows)) / 2
    return np.argsort(np.argsort(noisy)) * k // len(rows)


def isolation(X: NDArray[np.float64] | None = None, **options: Any) -> Any:
    options = {"n_estimators": 20, "random_state": 0} | options
    return IsolationForest(**options).fit(rows_of(400) if X is None else X)


def classifier(X: NDArray[np.float64] | None = None, y: Any = None, **options: Any) -> Any:
    X = rows_of(300) if X is None else X
    options = {"n_estimators": 20, "random_state": 0} | options
    return RandomForestClassifier(**options).fit(X, labels_of(X) if y is None else y)


FORESTS: dict[str, Callable[[], Any]] = {
    "isolation": lambda: isolation(n_estimators=100),
    "isolation, one tree": lambda: isolation(n_estimators=1),
    "isolation, 33 trees, contamination": lambda: isolation(n_estimators=33, contamination=0.1),
    "isolation, max_samples 1": lambda: isolation(max_samples=1),
    "isolation, max_samples 2": lambda: isolation(max_samples=2),
    "isolation, max_samples 0.9": lambda: isolation(max_samples=0.9),
    "isolation, max_features 0.5": lambda: isolation(max_features=0.5),
    "isolation, one column a tree": lambda: isolation(max_features=1),
    "isolation, bootstrap": lambda: isolation(bootstrap=True, n_estimators=10),
    "isolation, constant rows, depth 0": lambda: isolation(np.ones((50, 3)), n_estimators=12),
    "isolation, NaN in training": lambda: isolation(with_nan(rows_of(400))),
    "isolation, NaN in training, max_features 0.5": lambda: isolation(with_nan(rows_of(400)), max_features=0.5),
    "isolation, 80 columns": lambda: isolation(rows_of(300, columns=80)),
    "classifier": classifier,
    "classifier, one tree": lambda: classifier(n_estimators=1),
    "classifier, 41 trees": lambda: classifier(n_estimators=41),
    "classifier, depth 1": lambda: classifier(max_depth=1),
    "classifier, constant rows, depth 0": lambda: classifier(np.ones((50, 3)), np.arange(50) % 3),
    "classifier, five names": lambda: classifier(y=np.array([*"edcba"])[labels_of(rows_of(300), 5)]),
    "classifier, names as objects": lambda: classifier(y=np.array([*"xyz"], object)[labels_of(rows_of(300), 3)]),
    "classifier, boolean": lambda: classifier(y=labels_of(rows_of(300)) == 1),
    "classifier, balanced, entropy": lambda: classifier(class_weight="balanced", criterion="entropy"),
    "classifier, pruned": lambda: classifier(ccp_alpha=0.01),
    "classifier, max_samples 0.3": lambda: classifier(max_samples=0.3),
    "classifier, NaN in training": lambda: classifier(with_nan(rows_of(300))),
    "classifier, monotonic": lambda: classifier(monotonic_cst=[1, 0, 0, 0, 0, 0]),
}
every_forest = pytest.mark.parametrize("name", FORESTS)


@cache
def fitted(name: str) -> tuple[Any, Forest]:
    estimator = FORESTS[name]()
    return estimator, Forest.from_sklearn(estimator)


def theirs(estimator: Any, X: NDArray[np.float64]) -> NDArray[np.float64]:
    method = estimator.score_samples if isinstance(estimator, IsolationForest) else estimator.predict_proba
    return np.asarray(method(X))


def ours(forest: Forest, X: NDArray[np.float64]) -> NDArray[np.float64]:
    return forest.score_samples(X) if forest.kind == "isolation" else forest.predict_proba(X)


def columns_of(estimator: Any, tree: int) -> NDArray[np.intp]:
    subset = isinstance(estimator, IsolationForest) and estimator.max_features != 1.0
    return np.asarray(estimator.estimators_features_[tree] if subset else np.arange(estimator.n_features_in_))


@cache
def hard_rows(name: str) -> NDArray[np.float64]:
    """360 rows on or next to a threshold that they meet in some tree; some with NaN, some with extreme numbers."""
    estimator, forest = fitted(name)
    random = np.random.default_rng(7)
    rows = rows_of(360, max(forest.n_features, 4), seed=8)[:, : forest.n_features]
    for number, row in enumerate(rows):
        chosen = int(random.integers(forest.n_trees))
        columns, tree = columns_of(estimator, chosen), estimator.estimators_[chosen].tree_
        path = tree.decision_path(row[None, columns].astype(np.float32)).indices
        inner = path[tree.children_left[path] >= 0]
        if not inner.size:
            continue
        node = random.choice(inner)
        exact = min(float(tree.threshold[node]), FLOAT32_MAX)
        near = np.float32(exact)
        beside = [exact, np.nextafter(exact, 1e300), np.nextafter(exact, -1e300), near]
        beside += [np.nextafter(near, np.float32(limit)) for limit in (FLOAT32_MAX, -FLOAT32_MAX)]
        planted = float(beside[number % 6])
        row[columns[tree.feature[node]]] = planted if abs(planted) <= FLOAT32_MAX else exact
    rows[0] = FLOAT32_MAX
    rows[1] = -FLOAT32_MAX
    rows[2] = [0.0, -0.0, 1e-45][: forest.n_features] + [1e-310] * (forest.n_features - 3)
    if forest.takes_nan:
        rows[3] = np.nan
        rows[4::5] = with_nan(rows[4::5], 0.3)
    return rows


# ---- the same bits


@every_forest
def test_hard_rows_get_scikit_learns_bits_in_batches_of_every_small_length(name: str) -> None:
    estimator, forest = fitted(name)
    X = hard_rows(name)
    assert np.array_equal(ours(forest, X), theirs(estimator, X))
    for length in range(1, 18):
        batch = X[length : 2 * length]
        assert np.array_equal(ours(forest, batch), theirs(estimator, batch)), length


@every_forest
def test_how_a_matrix_is_cut_into_batches_changes_no_bit(name: str) -> None:
    forest = fitted(name)[1]
    X = hard_rows(name)
    whole = ours(forest, X)
    random = np.random.default_rng(3)
    for pieces in range(2, 22):
        cuts = np.sort(random.integers(0, len(X) + 1, size=pieces))
        assert np.array_equal(np.concatenate([ours(forest, part) for part in np.split(X, cuts)]), whole)


def test_a_long_batch_is_no_different() -> None:
    estimator = isolation(n_estimators=5)
    forest = Forest.from_sklearn(estimator)
    X = rows_of(40_001)
    whole = forest.score_samples(X)
    assert np.array_equal(whole, theirs(estimator, X))
    assert np.array_equal(np.concatenate([forest.score_samples(part) for part in np.array_split(X, 37)]), whole)


def test_the_table_holds_the_cases_it_names() -> None:
    deep = [tree.tree_ for tree in fitted("classifier, NaN in training")[0].estimators_]
    assert any(np.isposinf(tree.threshold).any() for tree in deep), "a split that only parts NaN from numbers"
    assert {tree.tree_.max_depth for tree in fitted("isolation, constant rows, depth 0")[0].estimators_} == {0}
    assert {tree.tree_.max_depth for tree in fitted("classifier, constant rows, depth 0")[0].estimators_} == {0}
    assert any((tree.threshold.astype(np.float32) > tree.threshold).any() for tree in deep), "not float32 already"


@pytest.mark.parametrize("name", ["isolation, NaN in training", "classifier, five names"])
def test_memory_layout_and_threads_change_no_bit(name: str) -> None:
    forest = fitted(name)[1]
    X = hard_rows(name)
    whole = ours(forest, X)
    frozen = X.copy()
    frozen.setflags(write=False)
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], frozen):
        assert np.array_equal(ours(forest, same), whole)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(got, whole) for got in pool.map(lambda _: ours(forest, X), range(40)))
    assert len(add_values.signatures) == 1, "compiled for one layout only: nothing stalls a running service"


@pytest.mark.parametrize("name", ["isolation", "classifier, five names"])
def test_no_rows_give_no_scores(name: str) -> None:
    forest = fitted(name)[1]
    empty = np.empty((0, forest.n_features))
    assert ours(forest, empty).shape == ((0,) if forest.kind == "isolation" else (0, 5))
    assert forest.anomaly(empty).shape == (0,)


def test_anomaly_is_higher_for_the_stranger() -> None:
    X = rows_of(50)
    forest = fitted("isolation")[1]
    assert np.array_equal(forest.anomaly(X), -forest.score_samples(X))
    forest = fitted("classifier, five names")[1]
    assert forest.classes is not None
    assert forest.classes.tolist() == ["a", "b", "c", "d", "e"]
    assert np.array_equal(forest.anomaly(X), forest.predict_proba(X)[:, 4])


# ---- what it says of itself, and what it refuses to score


def test_attributes() -> None:
    forest = fitted("isolation, 33 trees, contamination")[1]
    assert (forest.kind, forest.n_features, forest.n_trees, forest.takes_nan) == ("isolation", 6, 33, True)
    assert forest.classes is None
    forest = fitted("classifier, boolean")[1]
    assert (forest.kind, forest.n_features, forest.n_trees) == ("classifier", 6, 20)
    assert forest.classes is not None
    assert forest.classes.tolist() == [False, True]


@pytest.mark.parametrize("cell", [np.inf, -np.inf, 1e39, -1e300, FLOAT32_MAX + 2.0**103])
def test_a_number_beyond_float32_is_refused_with_its_place(cell: float) -> None:
    for name in ("isolation", "classifier"):
        X = rows_of(20)
        X[13, 4] = cell
        with pytest.raises(RowRefused, match=r"row 13, column 4: is -?(inf|\d).*float32") as refused:
            ours(fitted(name)[1], X)
        assert (refused.value.row, refused.value.column) == (13, 4)


def test_the_largest_number_that_rounds_to_a_float32_is_scored() -> None:
    estimator, forest = fitted("classifier")
    X = np.full((1, 6), np.nextafter(FLOAT32_MAX + 2.0**103, 0))
    assert np.array_equal(forest.predict_proba(X), theirs(estimator, X))


@pytest.mark.parametrize("name", ["isolation", "classifier"])
def test_nan_is_refused_where_the_caller_or_scikit_learn_does_not_allow_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, willing = fitted(name)
    by_caller = Forest.from_sklearn(estimator, allow_nan=False)
    tags = get_tags(estimator)
    tags.input_tags.allow_nan = False  # no forest of scikit-learn 1.9 says so; an earlier or later one may
    monkeypatch.setattr(forest_sklearn, "get_tags", lambda _: tags)
    X = rows_of(9)
    for forest in (by_caller, Forest.from_sklearn(estimator)):
        assert not forest.takes_nan
        assert np.array_equal(ours(forest, X), theirs(estimator, X))
    X[3, 2] = np.nan
    assert np.array_equal(ours(willing, X), theirs(estimator, X))
    for forest in (by_caller, Forest.from_sklearn(estimator)):
        with pytest.raises(RowRefused, match="row 3, column 2: is nan, expected a number within float32's range"):
            ours(forest, X)


@pytest.mark.parametrize(
    "X",
    [rows_of(5, 5), rows_of(5, 7), rows_of(5)[0], rows_of(5)[None], rows_of(5).astype(np.float32),
     np.ones((5, 6), int), rows_of(5).astype(">f8"), rows_of(5).astype(object), rows_of(5).tolist()],
    ids=lambda X: f"{X.dtype}{X.shape}" if isinstance(X, np.ndarray) else "list",
)  # fmt: skip
def test_another_shape_or_type_is_refused(X: Any) -> None:
    with pytest.raises(ModelError, match=r"X: is .*, expected float64\[n, 6\]"):
        fitted("isolation")[1].score_samples(X)


def test_each_kind_has_its_own_method() -> None:
    with pytest.raises(ModelError, match="use score_samples"):
        fitted("isolation")[1].predict_proba(rows_of(1))
    with pytest.raises(ModelError, match="use predict_proba"):
        fitted("classifier")[1].score_samples(rows_of(1))


# ---- conversion


def test_scikit_learn_still_keeps_what_the_conversion_reads() -> None:
    inside = vars(isolation(max_samples=100, max_features=3, n_estimators=4))
    assert inside["_max_samples"] == 100
    assert all(len(columns) == 3 for columns in inside["estimators_features_"])
    for tree, lengths, averages in zip(
        inside["estimators_"], inside["_decision_path_lengths"], inside["_average_path_length_per_tree"], strict=True
    ):
        assert lengths[0] == 1  # counts nodes, so that 1 is taken off
        assert lengths.max() == tree.tree_.max_depth + 1
        assert averages[tree.tree_.n_node_samples == 2].tolist() == [1.0] * (tree.tree_.n_node_samples == 2).sum()


def test_names_and_many_jobs_do_not_disturb_the_proof() -> None:
    class OneJob(RandomForestClassifier):  # type: ignore[misc]
        def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
            assert self.n_jobs == 1, "with more, the trees' order is chance"
            return np.asarray(super().predict_proba(X))

    estimator = OneJob(20, n_jobs=2, random_state=0).fit(rows_of(300), labels_of(rows_of(300)))
    estimator.feature_names_in_ = np.array([*"abcdef"], object)
    assert Forest.from_sklearn(estimator).n_trees == 20
    assert estimator.n_jobs == 2
    assert hasattr(estimator, "feature_names_in_")


def nearest(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.minimum(threshold.astype(np.float32), np.finfo(np.float32).max)


@pytest.mark.parametrize("name", ["isolation", "classifier, NaN in training"])
def test_the_proof_notices_thresholds_rounded_to_nearest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest_sklearn, "floor32", nearest)
    with pytest.raises(ModelError, match=r"estimator: scores \d+ of 256 probes"):
        Forest.from_sklearn(fitted(name)[0])


@pytest.mark.parametrize("broken", ["missing_left", "value"])
def test_the_proof_notices_another_array(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = vars(forest_sklearn)["_flatten"]

    def tampered(estimator: Any, allow_nan: bool) -> Arrays:
        arrays: Arrays = genuine(estimator, allow_nan)
        arrays[broken] = ~arrays[broken] if broken == "missing_left" else arrays[broken] * (1 + 2**-50)
        return arrays

    monkeypatch.setattr(forest_sklearn, "_flatten", tampered)
    with pytest.raises(ModelError, match=r"estimator: scores \d+ of 256 probes"):
        Forest.from_sklearn(fitted("isolation, NaN in training")[0])


@pytest.mark.parametrize(
    ("estimator", "problem"),
    [
        (lambda: IsolationForest(), "not fitted"),
        (lambda: RandomForestClassifier(), "not fitted"),
        (lambda: ExtraTreesClassifier(3).fit(rows_of(9), [0, 1, 0] * 3), "is ExtraTreesClassifier"),
        (lambda: classifier(y=np.zeros(300)), "two or more"),
        (lambda: classifier(y=np.zeros((300, 2))), "2 outputs"),
        (lambda: classifier(y=np.array(["2026-01-01", "2026-01-02"], "M8[D]")[labels_of(rows_of(300))]), "numbers or"),
    ],
)
def test_other_estimators_are_refused(estimator: Callable[[], Any], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        Forest.from_sklearn(estimator())


# ---- the rest


def test_scoring_loads_neither_scikit_learn_nor_river() -> None:
    program = "import sys, skimstream.scoring.forest; print(sorted({'sklearn', 'river'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_feature_mismatch_names_the_first_difference() -> None:
    swapped = FeatureMismatch(("a", "b", "c"), ("a", "c", "b"))
    assert str(swapped) == "features: number 1 should be 'b' but is 'c': give the model's features, in its order"
    assert (swapped.expected, swapped.given, swapped.where) == (("a", "b", "c"), ("a", "c", "b"), "features")
    assert "number 1, 'b', is missing (1 given, 2 expected)" in str(FeatureMismatch(("a", "b"), ("a",)))
    assert "number 2, 'c', is one too many" in str(FeatureMismatch(("a", "b"), ("a", "b", "c")))


def test_a_model_error_keeps_problem_and_place() -> None:
    error = ModelError("is too short", where="value")
    assert (str(error), error.problem, error.where) == ("value: is too short", "is too short", "value")
    assert str(ModelError("is too short")) == "is too short"
