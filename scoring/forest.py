"""A fitted scikit-learn forest as flat arrays: the same scores to the last bit, much faster, without scikit-learn.

scikit-learn casts a row to float32 and goes left where `float64(x) <= threshold`. For a float32 x that is the same as
`x <= t`, with t the largest float32 not above the threshold: a threshold rounded *down* to float32 loses nothing.
What the trees answer is added in float64, in the trees' order; the last steps are numpy's, as in scikit-learn.

Nodes lie tree after tree, each tree breadth first, siblings side by side. In that order the children of a tree's
i-th inner node (from 0) are its nodes 1 + 2i and 2 + 2i. A file therefore says which nodes are leaves and nothing about
children: a cycle, a child before its parent or a node with two parents cannot be written down.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import ModelError, RowRefused
from .forest_kernel import add_values, survey, tree_depths
from .forest_steps import add_steps, mean_of_leaves

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest, RandomForestClassifier

# Features are numbered in int16, -1 marking a leaf.
MAX_FEATURES = 2**15 - 1
# 13 times the largest forest we measured (300 trees on 5,000 rows: 1.3 M nodes). At 11 bytes a node and 8 a value, an
# isolation forest of this size takes 0.3 GB.
MAX_NODES = 2**24
# Every row takes all steps of all trees, the sum of their depths: 1,000 trees, each 131 deep, where 20 to 40 are usual.
# At about 1 ns a step a row then costs 0.1 ms; without a bound, a file of MAX_NODES could make it 8 ms.
MAX_STEPS = 2**17
# c(n), the expected path length among n rows, is 0 for one row, 1 for two, else 2 (ln(n - 1) + 0.577) - 2 (n - 1) / n:
# below 88 for any 64-bit n.
MAX_EXPECTED_PATH = 88.0
# A class's share of a leaf is a quotient of two sums of weights, rounded here and there.
SHARE_TOLERANCE = 1e-6
# ONNX keeps weights in float32.
LARGEST_WEIGHT = float(np.finfo(np.float32).max)


class Forest:
    """An isolation forest, a random forest classifier or a forest whose leaves hold weights to add, ready to score.

    `kind` is "isolation", "classifier" or "additive" (of an ONNX file: `onnx_forest`); `n_features` is the width of its
    rows, `n_trees` the number of trees; `classes` are a classifier's labels, ascending (None for other kinds);
    `takes_nan` says whether rows may hold NaN. Nothing changes after construction, so threads may share a forest;
    scoring releases the GIL.

    Methods that take X want float64[n, n_features], n >= 0, and raise `ModelError` for another type or width, and
    `RowRefused` for a cell that is infinite, or beyond float32 (3.4e38), or NaN where `takes_nan` is false. A row's
    result does not depend on the rows beside it.

    >>> from sklearn.ensemble import IsolationForest
    >>> rows = np.random.default_rng(0).normal(size=(500, 3))
    >>> estimator = IsolationForest(random_state=0).fit(rows)
    >>> forest = Forest.from_sklearn(estimator)
    >>> forest.kind, forest.n_features, forest.n_trees
    ('isolation', 3, 100)
    >>> np.array_equal(forest.score_samples(rows), estimator.score_samples(rows))
    True
    """

    kind: Literal["isolation", "classifier", "additive"]
    n_features: int
    n_trees: int
    takes_nan: bool
    classes: NDArray[Any] | None

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """As `from_arrays`."""
        own = _Reader(arrays)
        kind = own.scalar("kind", np.str_)
        if kind not in ("isolation", "classifier", "additive"):
            raise ModelError(f"is {kind[:20]!r}, expected 'isolation', 'classifier' or 'additive'", where="kind")
        self.kind = kind
        self.n_features = own.scalar("n_features", np.int64)
        if not 1 <= self.n_features <= MAX_FEATURES:
            raise ModelError(f"is {self.n_features}, expected 1 to {MAX_FEATURES}", where="n_features")
        self.takes_nan = own.scalar("takes_nan", np.bool_)

        feature = own.array("feature", np.int16)
        if feature.min() < -1 or feature.max() >= self.n_features:
            raise ModelError(f"not all are -1 (a leaf) or 0 to {self.n_features - 1}", where="feature")
        left, roots, depths = _structure(feature, own.array("tree_sizes", np.int64))
        self.n_trees = len(roots)
        threshold = own.array("threshold", np.float32, shape=feature.shape)
        leaf = feature < 0
        if not np.isfinite(threshold[~leaf]).all() or not np.isposinf(threshold[leaf]).all():
            raise ModelError("not all are finite in inner nodes and +inf in leaves", where="threshold")
        missing_left = own.array("missing_left", np.bool_, shape=feature.shape)

        self._expected_path = 0.0
        self.classes = None
        if self.kind == "isolation":
            self._expected_path = own.scalar("expected_path", np.float64)
            value = own.array("value", np.float64, shape=(len(feature), 1))
            _check_paths(self._expected_path, value)
        elif self.kind == "additive":
            value = own.array("value", np.float64, shape=(len(feature), 1))
            if not (np.abs(value) <= LARGEST_WEIGHT).all():
                raise ModelError("not all are weights within float32's range", where="value")
        else:
            self.classes = own.array("classes", None)
            value = own.array("value", np.float64, shape=(len(feature), len(self.classes)))
            _check_shares(self.classes, value)

        self._arrays = own.finish()
        self._answers = value.shape[1]
        column = np.maximum(feature, 0).astype(np.uint16)  # a leaf compares any cell with +inf: it stays where it is
        self._walk = (threshold, column, left, missing_left, value, roots, depths)
        for array in self._walk:
            array.setflags(write=False)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The forest that `to_arrays` wrote; `arrays` may come from anyone: all is copied, then checked.

        (But not copied if an array is frozen and owns its memory: a large model need not be held twice.)

        Raises ModelError unless every array is there with its type and shape, describes whole trees within the budgets
        MAX_NODES and MAX_STEPS, and holds no number that a fitted forest could not.
        """
        return cls(arrays)

    @classmethod
    def from_sklearn(cls, estimator: "IsolationForest | RandomForestClassifier", *, allow_nan: bool = True) -> "Forest":
        """Flatten a fitted forest, and prove on 256 rows, many of them on thresholds, that it gives the same bits.

        scikit-learn scores NaN also if none was in the training data, and keeps no record of that:
        `allow_nan=False` gives a forest that refuses NaN instead. Raises ModelError if the estimator is of another
        kind, not fitted, has several outputs or a single class, or if any bit differs.
        """
        from .forest_sklearn import convert  # imports scikit-learn, which those who only score need not load

        return convert(estimator, allow_nan=allow_nan)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain read-only arrays, for `np.savez` and `np.load(allow_pickle=False)`; n nodes, T trees, k answers a node.

        kind, n_features, takes_nan: scalars. tree_sizes: int64[T], the nodes of each tree. feature: int16[n], -1 in a
        leaf. threshold: float32[n], +inf in a leaf. missing_left: bool[n], where NaN goes. value: float64[n, k], what
        the tree answers if a walk ends at this node, for inner nodes too: the path length (k = 1), or each class's
        share. Isolation forest: expected_path, float64, c(max_samples). Classifier: classes [k]. Additive: a leaf's
        weight (k = 1).
        """
        return dict(self._arrays)

    def score_samples(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Isolation forest: float64[n] in [-1, 0], lower = more anomalous, as scikit-learn's method of this name.

        -2^(-mean path length / c(max_samples)): Liu, Ting and Zhou, Isolation Forest, ICDM 2008, equation 2.
        Additive: the sum of the leaves' weights, in float64 and the trees' order; also lower = more anomalous.
        """
        if self.kind == "classifier":
            raise ModelError("a classifier has no score_samples: use predict_proba or anomaly", where="kind")
        if self.kind == "additive":
            return self._totals(X)[:, 0]
        path = self._totals(X)[:, 0]
        expected = self.n_trees * self._expected_path
        # Trained on one row a tree, every path and its expectation are 0: scikit-learn sets their ratio to 1.
        ratio = path / expected if expected else np.ones_like(path)
        return np.asarray(-(2.0 ** (-ratio)), np.float64)

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Classifier: float64[n, k], the probability of each of `classes`, as scikit-learn's method of this name."""
        if self.kind != "classifier":
            raise ModelError(f"kind {self.kind} has no predict_proba: use score_samples or anomaly", where="kind")
        return self._totals(X) / self.n_trees

    def anomaly(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n], higher = more anomalous; in [0, 1] unless the forest is additive.

        Classifier: the probability of the last class, the greatest label (1 of 0 and 1, True of False and True). Other
        kinds: -score_samples.
        """
        return self.predict_proba(X)[:, -1] if self.kind == "classifier" else -self.score_samples(X)

    def contributions(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n, n_features]: what each feature adds to a row's anomaly, positive = towards it. Slow.

        A step from a node to its child changes what the tree expects to answer; the change is the split feature's
        (Saabas' path attribution). A node's expectation is its `value`: scikit-learn keeps the path length, depth +
        c(rows), or the class's share of inner nodes too; of an additive forest, it is the mean of the leaves below.
        A row's contributions add up to the mean over the trees of root minus leaf (isolation: path lengths) or leaf
        minus root (classifier: shares of the last class), for additive forests to the sum of root minus leaf.
        """
        x, _ = self._checked(X)
        threshold, column, left, missing_left, value, roots, _ = self._walk
        if self.kind == "additive":
            value = self._expectations
        total = np.zeros(x.shape)
        add_steps(threshold, column, left, missing_left, value, roots, x, total)
        divisor = {"isolation": -self.n_trees, "classifier": self.n_trees, "additive": -1}[self.kind]
        return np.asarray(total / divisor, np.float64)

    @cached_property
    def _expectations(self) -> NDArray[np.float64]:
        return np.asarray(mean_of_leaves(self._walk[2], self._walk[4]), np.float64)

    def _totals(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n, k]: the trees' answers, added in tree order."""
        x, missing = self._checked(X)
        totals = np.zeros((len(x), self._answers))
        add_values(*self._walk, x, missing, totals)
        return totals

    def _checked(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float32], bool]:
        """The rows as the trees compare them, float32[n, n_features] in C order, and whether any cell is NaN."""
        if not isinstance(X, np.ndarray) or X.dtype != np.float64 or X.ndim != 2 or X.shape[1] != self.n_features:
            given = f"{X.dtype}{list(X.shape)}" if isinstance(X, np.ndarray) else type(X).__name__
            raise ModelError(f"is {given}, expected float64[n, {self.n_features}]", where="X")
        with np.errstate(all="ignore"):  # too large for float32 becomes infinite, and is refused below
            x = X.astype(np.float32, order="C", subok=False)
        x.setflags(write=False)  # as a sliding forest's rows are: one compiled walk serves both
        missing, infinite = survey(x)
        if infinite or (missing and not self.takes_nan):
            refused = np.isinf(x) | (np.isnan(x) & (not self.takes_nan))
            row, column = (int(i) for i in np.argwhere(refused)[0])
            allowed = "a number or NaN" if self.takes_nan else "a number"
            raise RowRefused(f"is {X[row, column]}, expected {allowed} within float32's range", row=row, column=column)
        return x, missing


class _Reader:
    """Takes named arrays out of a mapping, each checked and copied; `finish` refuses what nobody asked for."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._given = arrays
        self._taken: dict[str, NDArray[Any]] = {}

    def array(self, name: str, dtype: DTypeLike | None, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The array of this dtype (None: any) and shape (None: one dimension, at least one cell)."""
        array = self._given.get(name)
        if not isinstance(array, np.ndarray):
            raise ModelError("is missing: this is no saved forest, or one of another version", where=name)
        text = dtype is np.str_ and array.dtype.kind == "U"  # strings of any length
        if dtype is not None and array.dtype != dtype and not text:
            raise ModelError(f"is {array.dtype}, expected {np.dtype(dtype)}", where=name)
        if (array.shape != shape) if shape is not None else (array.ndim != 1 or not array.size):
            raise ModelError(f"has shape {array.shape}, expected {shape or '(n,), n > 0'}", where=name)
        if array.shape and len(array) > MAX_NODES:
            raise ModelError(f"has {len(array)} entries, more than the {MAX_NODES} allowed", where=name)
        frozen = type(array) is np.ndarray and array.flags.owndata and array.flags.c_contiguous
        if not frozen or array.flags.writeable:
            array = np.array(array, order="C", subok=False)  # nobody else can change it once it is checked
            array.setflags(write=False)
        self._taken[name] = array
        return array

    def scalar(self, name: str, dtype: DTypeLike) -> Any:
        """The one value of an array without dimensions, as a Python object."""
        return self.array(name, dtype, shape=()).item()

    def finish(self) -> dict[str, NDArray[Any]]:
        """All arrays taken."""
        unknown = sorted(set(self._given) - set(self._taken))
        if unknown:
            raise ModelError("is unknown: this is no saved forest, or one of another version", where=unknown[0])
        return self._taken


def _structure(
    feature: NDArray[np.int16], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """From leaf marks and tree sizes: uint32[n] left children (a leaf's is itself), uint32[T] roots and depths.

    Raises ModelError unless the nodes make up exactly these trees, breadth first.
    """
    n = len(feature)
    if sizes.min() < 1 or sizes.max() > n or sizes.sum() != n:
        raise ModelError(f"do not divide the {n} nodes: truncated or mixed up?", where="tree_sizes")
    # Positions are below 2 MAX_NODES: in int32 they take half the memory.
    ends = np.cumsum(sizes, dtype=np.int32)
    roots = (ends - sizes).astype(np.int32)
    inner = feature >= 0
    inner_before = np.concatenate([np.zeros(1, np.int32), np.cumsum(inner, dtype=np.int32)])
    here = np.arange(n, dtype=np.int32)
    root = np.repeat(roots, sizes)
    # Where a node's children lie if it has any: behind the root and the children of the tree's inner nodes before it.
    # In a tree each node lies before that place, since its parent came first; the last node is just before it.
    children = root + 1 + 2 * (inner_before[:-1] - inner_before[root])
    if not (here < children).all() or not np.array_equal(sizes, 1 + 2 * (inner_before[ends] - inner_before[roots])):
        raise ModelError("the leaves do not close the trees: truncated or mixed up?", where="feature")

    depths = np.zeros(len(roots), np.uint32)
    if tree_depths(inner_before, roots, depths) > MAX_STEPS:
        raise ModelError(f"depths add up to more than {MAX_STEPS} steps: set max_depth when fitting", where="feature")
    return np.where(inner, children, here).astype(np.uint32), roots.astype(np.uint32), depths


def _check_paths(expected: float, value: NDArray[np.float64]) -> None:
    if not (expected == 0.0 or 1.0 <= expected <= MAX_EXPECTED_PATH):
        raise ModelError(f"is {expected}, expected 0 or 1 to {MAX_EXPECTED_PATH}", where="expected_path")
    if not ((value >= 0.0) & (value <= MAX_STEPS + MAX_EXPECTED_PATH)).all():
        raise ModelError("not all are path lengths, finite and not negative", where="value")


def _check_shares(classes: NDArray[Any], value: NDArray[np.float64]) -> None:
    if classes.dtype.kind not in "biufU" or len(classes) < 2:
        raise ModelError("are not two or more numbers or strings", where="classes")
    if not (classes[:-1] < classes[1:]).all():
        raise ModelError("are not in ascending order, each once", where="classes")
    shares = (value >= 0.0) & (value <= 1.0 + SHARE_TOLERANCE)
    if not shares.all() or not (np.abs(value.sum(axis=1) - 1.0) <= SHARE_TOLERANCE).all():
        raise ModelError("not all rows are shares of the classes, adding up to 1", where="value")
