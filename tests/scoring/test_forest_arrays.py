"""A forest's arrays: saved, loaded, compared with a plain reference; and no array makes a kernel read out of bounds."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestClassifier

from skimstream.scoring import forest as forest_module
from skimstream.scoring.errors import ModelError
from skimstream.scoring.forest import Forest

Arrays = dict[str, NDArray[Any]]


def rows_of(n: int, nan: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """float64[n, 6], one column of whole numbers, a share of NaN."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 6))
    rows[:, 1] = np.round(rows[:, 1] * 2)
    return np.where(random.random(rows.shape) < nan, np.nan, rows)


def isolation(nan: float = 0.0, **options: Any) -> Any:
    return IsolationForest(n_estimators=33, random_state=0, **options).fit(rows_of(300, nan))


def classifier(labels: Any, nan: float = 0.0) -> Any:
    X = rows_of(300, nan)
    y = np.digitize(np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 5]) ** 2, [0.2, 0.7, 1.2, 2.0]) % len(labels)
    return RandomForestClassifier(n_estimators=20, random_state=0).fit(X, np.array(labels)[y])


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "isolation": isolation,
    "isolation, max_samples 1": lambda: isolation(max_samples=1),
    "isolation, one column a tree": lambda: isolation(max_features=1),
    "isolation, NaN in training": lambda: isolation(nan=0.1),
    "classifier, five names": lambda: classifier([*"abcde"]),
    "classifier, boolean, NaN in training": lambda: classifier([False, True], nan=0.1),
}
every_forest = pytest.mark.parametrize("name", ESTIMATORS)


@cache
def fitted(name: str) -> Forest:
    return Forest.from_sklearn(ESTIMATORS[name]())


def score(forest: Forest, X: NDArray[np.float64]) -> NDArray[np.float64]:
    return forest.score_samples(X) if forest.kind == "isolation" else forest.predict_proba(X)


def reference(arrays: Arrays, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of leaf values in plain numpy: rows x trees, all walking at once; children from a queue."""
    left, roots = queue_children(arrays["feature"].tolist(), arrays["tree_sizes"].tolist())
    x = X.astype(np.float32)
    node = np.tile(roots, (len(x), 1))
    while (arrays["feature"][node] >= 0).any():
        inner = arrays["feature"][node] >= 0
        cell = np.take_along_axis(x, np.maximum(arrays["feature"][node], 0).astype(np.intp), axis=1)
        goes_left = np.where(np.isnan(cell), arrays["missing_left"][node], cell <= arrays["threshold"][node])
        node = np.where(inner, left[node] + ~goes_left, node)
    return np.asarray(arrays["value"][node].cumsum(axis=1)[:, -1])


def queue_children(features: list[int], sizes: list[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Left children (a leaf's is itself) and roots, by handing out children as a breadth-first search would.

    Raises ValueError if a tree runs out of nodes, or has some left over.
    """
    left, roots = list(range(len(features))), []
    start = 0
    for size in sizes:
        roots.append(start)
        handed_out = start + 1
        node = start
        while node < handed_out:
            if features[node] >= 0:
                left[node] = handed_out
                handed_out += 2
                if handed_out > start + size:
                    raise ValueError("out of nodes")
            node += 1
        if handed_out != start + size:
            raise ValueError("nodes left over")
        start += size
    if start != len(features):
        raise ValueError("trees left over")
    return np.array(left), np.array(roots)


# ---- the walk, and saving


@every_forest
def test_sums_equal_the_plain_reference(name: str) -> None:
    forest = fitted(name)
    arrays = forest.to_arrays()
    X = rows_of(300, nan=0.05, seed=1)
    sums = reference(arrays, X)
    if forest.kind == "classifier":
        assert np.array_equal(forest.predict_proba(X), sums / forest.n_trees)
    elif arrays["expected_path"] == 0:
        assert np.array_equal(forest.score_samples(X), np.full(len(X), -0.5))
    else:
        assert np.array_equal(
            forest.score_samples(X), -(2 ** -(sums[:, 0] / (forest.n_trees * arrays["expected_path"])))
        )


@every_forest
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    forest = fitted(name)
    np.savez(tmp_path / "forest.npz", **forest.to_arrays())  # type: ignore[arg-type]
    with np.load(tmp_path / "forest.npz", allow_pickle=False) as file:
        again = Forest.from_arrays(dict(file))
    for key, array in forest.to_arrays().items():
        other = again.to_arrays()[key]
        assert array.dtype == other.dtype
        assert np.array_equal(array, other), key
    assert (again.kind, again.n_features, again.n_trees, again.takes_nan) == (
        forest.kind, forest.n_features, forest.n_trees, forest.takes_nan,
    )  # fmt: skip
    X = rows_of(300, nan=0.05, seed=1)
    assert np.array_equal(score(again, X), score(forest, X))


def test_nobody_can_change_arrays_once_they_are_checked() -> None:
    arrays = {key: array.copy() for key, array in fitted("isolation").to_arrays().items()}
    forest = Forest.from_arrays(arrays)
    before = forest.score_samples(rows_of(10))
    arrays["feature"][...] = 30_000
    arrays["value"][...] = np.nan
    assert np.array_equal(forest.score_samples(rows_of(10)), before)
    assert not any(array.flags.writeable for array in forest.to_arrays().values())


# ---- hostile arrays


def put(key: str, value: Any, where: Callable[[Arrays], Any] = lambda _: slice(None)) -> Callable[[Arrays], None]:
    """Overwrite cells of an array."""

    def change(arrays: Arrays) -> None:
        arrays[key] = arrays[key].copy()
        arrays[key][where(arrays)] = value

    return change


def replace(key: str, make: Callable[[NDArray[Any]], Any]) -> Callable[[Arrays], None]:
    """Overwrite an array."""

    def change(arrays: Arrays) -> None:
        arrays[key] = make(arrays[key])

    return change


def first_inner(arrays: Arrays) -> int:
    return int(np.argmax(arrays["feature"] >= 0))


def first_leaf(arrays: Arrays) -> int:
    return int(np.argmax(arrays["feature"] < 0))


def last(arrays: Arrays) -> int:
    return len(arrays["feature"]) - 1


def truncate(arrays: Arrays) -> None:
    for key in ("feature", "threshold", "missing_left", "value"):
        arrays[key] = arrays[key][:-1]


def truncate_and_say_so(arrays: Arrays) -> None:
    truncate(arrays)
    put("tree_sizes", arrays["tree_sizes"][-1] - 1, lambda _: -1)(arrays)


def swap_two_nodes(arrays: Arrays) -> None:
    """The nearest thing to a wrong child: a leaf and an inner node change places."""
    a, b = first_inner(arrays), last(arrays)
    for key in ("feature", "threshold", "missing_left", "value"):
        arrays[key] = arrays[key].copy()
        arrays[key][[a, b]] = arrays[key][[b, a]]


def resize(*change: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def make(sizes: NDArray[Any]) -> NDArray[Any]:
        sizes = sizes.copy()
        sizes[: len(change)] += np.array(change)
        return sizes

    return make


HOSTILE: dict[str, tuple[str, Callable[[Arrays], Any]]] = {
    "no feature": ("feature", lambda arrays: arrays.pop("feature")),
    "no kind": ("kind", lambda arrays: arrays.pop("kind")),
    "an array too many": ("left", lambda arrays: arrays.update(left=np.arange(3))),
    "the other kind's array": ("classes", lambda arrays: arrays.update(classes=np.arange(2))),
    "a list": ("threshold", replace("threshold", lambda array: array.tolist())),
    "unknown kind": ("kind", replace("kind", lambda _: np.array("boosting"))),
    "kind as bytes": ("kind", replace("kind", lambda _: np.array(b"isolation"))),
    "kind as object": ("kind", replace("kind", lambda _: np.array("isolation", object))),
    "two kinds": ("kind", replace("kind", lambda _: np.array(["isolation"] * 2))),
    "feature int32": ("feature", replace("feature", lambda array: array.astype(np.int32))),
    "feature big-endian": ("feature", replace("feature", lambda array: array.astype(">i2"))),
    "feature object": ("feature", replace("feature", lambda array: array.astype(object))),
    "threshold float64": ("threshold", replace("threshold", lambda array: array.astype(np.float64))),
    "missing_left uint8": ("missing_left", replace("missing_left", lambda array: array.astype(np.uint8))),
    "value float32": ("value", replace("value", lambda array: array.astype(np.float32))),
    "tree_sizes int32": ("tree_sizes", replace("tree_sizes", lambda array: array.astype(np.int32))),
    "tree_sizes float64": ("tree_sizes", replace("tree_sizes", lambda array: array.astype(np.float64))),
    "n_features int32": ("n_features", replace("n_features", lambda array: array.astype(np.int32))),
    "n_features a row": ("n_features", replace("n_features", lambda array: array[None])),
    "takes_nan int": ("takes_nan", replace("takes_nan", lambda array: array.astype(np.int64))),
    "feature 2-d": ("feature", replace("feature", lambda array: array[:, None])),
    "value 1-d": ("value", replace("value", lambda array: array[:, 0])),
    "value two wide": ("value", replace("value", lambda array: np.repeat(array, 2, axis=1))),
    "threshold short": ("threshold", replace("threshold", lambda array: array[:-1])),
    "missing_left long": ("missing_left", replace("missing_left", lambda array: np.append(array, True))),
    "value short": ("value", replace("value", lambda array: array[:-1])),
    "no nodes": ("feature", replace("feature", lambda array: array[:0])),
    "no trees": ("tree_sizes", replace("tree_sizes", lambda array: array[:0])),
    "feature n_features": ("feature", put("feature", 6, first_inner)),
    "feature 32,767": ("feature", put("feature", 32_767, first_inner)),
    "feature -2": ("feature", put("feature", -2, first_leaf)),
    "feature -32,768": ("feature", put("feature", -32_768, first_inner)),
    "n_features 1": ("feature", replace("n_features", lambda _: np.array(1))),
    "n_features 0": ("n_features", replace("n_features", lambda _: np.array(0))),
    "n_features -1": ("n_features", replace("n_features", lambda _: np.array(-1))),
    "n_features 32,768": ("n_features", replace("n_features", lambda _: np.array(32_768))),
    "NaN threshold": ("threshold", put("threshold", np.nan, first_inner)),
    "infinite threshold": ("threshold", put("threshold", np.inf, first_inner)),
    "-infinite threshold": ("threshold", put("threshold", -np.inf, first_inner)),
    "finite threshold in a leaf": ("threshold", put("threshold", 0.0, first_leaf)),
    "NaN threshold in a leaf": ("threshold", put("threshold", np.nan, first_leaf)),
    "a leaf turned inner": ("feature", put("feature", 0, first_leaf)),
    "the last leaf turned inner": ("feature", put("feature", 0, last)),
    "an inner node turned leaf": ("feature", put("feature", -1, first_inner)),
    "all leaves": ("feature", put("feature", -1)),
    "no leaves": ("feature", put("feature", 0)),
    "nodes swapped": ("feature", swap_two_nodes),
    "truncated": ("tree_sizes", truncate),
    "truncated, sizes too": ("feature", truncate_and_say_so),
    "a node moved to the next tree": ("feature", replace("tree_sizes", resize(1, -1))),
    "two nodes moved to the next tree": ("feature", replace("tree_sizes", resize(2, -2))),
    "trees joined": ("feature", replace("tree_sizes", lambda sizes: np.append(sizes[0] + sizes[1], sizes[2:]))),
    "an empty tree": ("tree_sizes", replace("tree_sizes", lambda sizes: np.append(sizes, 0))),
    "a negative tree": ("tree_sizes", replace("tree_sizes", lambda sizes: np.append(sizes, [3, -3]))),
    "an overflowing tree": ("tree_sizes", replace("tree_sizes", resize(2**62, 2**62, 2**62, 2**62))),
    "a tree too many": ("tree_sizes", replace("tree_sizes", lambda sizes: np.append(sizes, 1))),
    "NaN value": ("value", put("value", np.nan, first_leaf)),
    "infinite value": ("value", put("value", np.inf, first_inner)),
    "negative value": ("value", put("value", -1e-9, first_leaf)),
    "huge value": ("value", put("value", 1e300, first_leaf)),
    "NaN expected_path": ("expected_path", replace("expected_path", lambda _: np.array(np.nan))),
    "tiny expected_path": ("expected_path", replace("expected_path", lambda _: np.array(1e-300))),
    "negative expected_path": ("expected_path", replace("expected_path", lambda _: np.array(-1.0))),
    "infinite expected_path": ("expected_path", replace("expected_path", lambda _: np.array(np.inf))),
}
HOSTILE_CLASSIFIER: dict[str, tuple[str, Callable[[Arrays], Any]]] = {
    "no classes": ("classes", lambda arrays: arrays.pop("classes")),
    "the other kind's array": ("expected_path", lambda arrays: arrays.update(expected_path=np.array(1.0))),
    "classes as objects": ("classes", replace("classes", lambda array: array.astype(object))),
    "classes as bytes": ("classes", replace("classes", lambda array: array.astype("S"))),
    "classes descending": ("classes", replace("classes", lambda array: array[::-1])),
    "classes twice": ("classes", replace("classes", lambda array: array[[0, 0, 2, 3, 4]])),
    "NaN class": ("classes", replace("classes", lambda _: np.array([0, 1, 2, 3, np.nan]))),
    "a class too few": ("value", replace("classes", lambda array: array[:-1])),
    "one class": ("classes", lambda arrays: arrays.update(classes=np.arange(1), value=arrays["value"][:, :1])),
    "no class": ("classes", replace("classes", lambda array: array[:0])),
    "NaN share": ("value", put("value", np.nan, first_leaf)),
    "negative share": ("value", put("value", [-0.5, 1.5, 0, 0, 0], first_leaf)),
    "shares above 1": ("value", put("value", 0.9, first_inner)),
    "no shares": ("value", put("value", 0.0, first_leaf)),
}


def copies(name: str) -> Arrays:
    return dict(fitted(name).to_arrays())


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_isolation_forest(case: str) -> None:
    where, change = HOSTILE[case]
    arrays = copies("isolation")
    Forest.from_arrays(arrays)
    change(arrays)
    with pytest.raises(ModelError) as error:
        Forest.from_arrays(arrays)
    assert error.value.where == where


@pytest.mark.parametrize("case", HOSTILE_CLASSIFIER)
def test_hostile_classifier(case: str) -> None:
    where, change = HOSTILE_CLASSIFIER[case]
    arrays = copies("classifier, five names")
    Forest.from_arrays(arrays)
    change(arrays)
    with pytest.raises(ModelError) as error:
        Forest.from_arrays(arrays)
    assert error.value.where == where


def stump_arrays(feature: list[int], sizes: list[int]) -> Arrays:
    marks = np.array(feature, np.int16)
    return {
        "kind": np.array("isolation"),
        "n_features": np.array(3),
        "takes_nan": np.array(False),
        "expected_path": np.array(2.0),
        "tree_sizes": np.array(sizes, np.int64),
        "feature": marks,
        "threshold": np.where(marks < 0, np.inf, 0.5).astype(np.float32),
        "missing_left": np.zeros(len(marks), bool),
        "value": np.arange(len(marks), dtype=np.float64)[:, None],
    }


def chain(depth: int) -> list[int]:
    """A tree that goes as deep as its nodes allow: one of two siblings is always a leaf."""
    return [0] + [-1, 0] * (depth - 1) + [-1, -1]


def test_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = stump_arrays(chain(6) + chain(5), [13, 11])
    assert Forest.from_arrays(arrays).n_trees == 2
    monkeypatch.setattr(forest_module, "MAX_STEPS", 11)
    Forest.from_arrays(arrays)
    for steps in (10, 3):
        monkeypatch.setattr(forest_module, "MAX_STEPS", steps)
        with pytest.raises(ModelError, match=f"more than {steps} steps"):
            Forest.from_arrays(arrays)
    monkeypatch.setattr(forest_module, "MAX_NODES", 23)
    with pytest.raises(ModelError, match="24 entries, more than the 23 allowed"):
        Forest.from_arrays(arrays)


@st.composite
def marks_and_sizes(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Trees with the right number of leaves in any order; then, often, something else is wrong."""
    trees = [
        draw(st.permutations([0] * inner + [-1] * (inner + 1)))
        for inner in draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    ]
    feature, sizes = [mark for tree in trees for mark in tree], [len(tree) for tree in trees]
    if draw(st.booleans()):
        feature[draw(st.integers(0, len(feature) - 1))] = draw(st.sampled_from([-1, 2]))
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] += draw(st.integers(-3, 3))
    return feature, sizes


@settings(deadline=None, max_examples=400)
@given(marks_and_sizes=marks_and_sizes())
@example(([-1, 0, 0, -1, -1], [5]))
@example(([0, -1, -1, 0, -1], [5]))
def test_leaf_marks_are_taken_exactly_if_they_describe_trees(marks_and_sizes: tuple[list[int], list[int]]) -> None:
    feature, sizes = marks_and_sizes
    try:
        left, roots = queue_children(feature, sizes)
        whole = min(sizes) > 0
    except (ValueError, IndexError):
        whole = False
    if not whole:
        with pytest.raises(ModelError):
            Forest.from_arrays(stump_arrays(feature, sizes))
    else:
        check_walk(Forest.from_arrays(stump_arrays(feature, sizes)), left, roots)


@settings(deadline=None, max_examples=200)
@given(shape=st.recursive(st.none(), lambda child: st.tuples(child, child), max_leaves=40), copies=st.integers(1, 3))
def test_every_tree_is_taken_and_walked_as_the_reference_walks(shape: Any, copies: int) -> None:
    feature: list[int] = []
    level = [shape]
    while level:
        feature += [-1 if node is None else len(feature) % 3 for node in level]
        level = [child for node in level if node is not None for child in node]
    arrays = stump_arrays(feature * copies, [len(feature)] * copies)
    forest = Forest.from_arrays(arrays)
    check_walk(forest, *queue_children(feature * copies, [len(feature)] * copies))
    X = np.random.default_rng(0).random((12, 3))
    for part in (X, X[:3]):
        paths = reference(arrays, part)[:, 0]
        assert np.array_equal(forest.score_samples(part), -(2 ** -(paths / (copies * 2.0))))


def check_walk(forest: Forest, left: NDArray[np.intp], roots: NDArray[np.intp]) -> None:
    """What the kernels rely on; the depth is exactly the longest walk's."""
    threshold, column, own_left, _, value, own_roots, depths = vars(forest)["_walk"]
    assert np.array_equal(own_left, left)
    assert np.array_equal(own_roots, roots)
    here = np.arange(len(left))
    leaf = left == here
    assert (left[~leaf] > here[~leaf]).all()
    assert (left[~leaf] + 1 < len(left)).all()
    assert np.isposinf(threshold[leaf]).all()
    assert (column < forest.n_features).all()
    assert len(value) == len(left)
    for root, depth in zip(roots, depths, strict=True):
        reached = np.array([root])
        for _ in range(int(depth)):
            assert not leaf[reached].all(), "a step too many"
            reached = np.union1d(left[reached], left[reached] + ~leaf[reached])
        assert leaf[reached].all(), "a step too few"


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_flipped_bytes_are_refused_or_harmless(data: st.DataObject) -> None:
    arrays = {key: array.copy() for key, array in fitted("isolation, one column a tree").to_arrays().items()}
    key = data.draw(st.sampled_from(["n_features", "tree_sizes", "feature", "threshold", "value", "expected_path"]))
    cells = arrays[key].reshape(-1).view(np.uint8)
    for _ in range(data.draw(st.integers(1, 3))):
        cells[data.draw(st.integers(0, len(cells) - 1))] ^= np.uint8(1 << data.draw(st.integers(0, 7)))
    try:
        forest = Forest.from_arrays(arrays)
    except ModelError:
        return
    check_walk(forest, *queue_children(arrays["feature"].tolist(), arrays["tree_sizes"].tolist()))
    scores = forest.score_samples(np.zeros((9, forest.n_features)))
    assert ((scores >= -1) & (scores <= 0)).all()
