"""Half-space trees: River's bits, the robust mode's definition, batches, state, and hostile arrays."""

import io
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import anomaly, preprocessing

from skimstream.scoring.errors import ModelError, RowRefused
from skimstream.scoring.halfspace import LARGEST, HalfSpaceTrees
from skimstream.scoring.halfspace_kernel import FORGETTING, _soft_sign

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

FEW: dict[str, Any] = {"n_trees": 10, "height": 8, "window_size": 50}


def columns(count: int) -> list[str]:
    """f0, f1, ... f10, ...: River sorts f10 before f2, a matrix does not."""
    return [f"f{i}" for i in range(count)]


@cache
def built(mode: Any, scaled: bool, features: int) -> HalfSpaceTrees:
    """Trees to copy: building them, which is River's, takes a tenth of a second."""
    return HalfSpaceTrees.build(columns(features), mode, scaled=scaled, seed=9, **FEW)


def same(ours: Floats, theirs: Floats) -> bool:
    return np.array_equal(ours, theirs, equal_nan=True)


def equal_arrays(ours: Arrays, theirs: Arrays) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def river_scores(detector: Any, names: list[str], X: Floats) -> Floats:
    """River's own: `score_one`, then `learn_one`."""
    scores = []
    for row in X.tolist():
        event = dict(zip(names, row, strict=True))
        scores.append(float(detector.score_one(event)))
        detector.learn_one(event)
    return np.array(scores)


def robust_reference(X: Floats, names: list[str], window: int, log2_mass: Floats, **trees: Any) -> Floats:
    """Section 3.5 of the reference, line by line, in plain Python on River's own nodes; r is the event's number."""
    hst: Any = anomaly.HalfSpaceTrees(window_size=window, **trees)
    m, v, scores = [0.0] * len(names), [0.0] * len(names), []
    for r, event in enumerate(X.tolist()):
        u = {}
        for j, x in enumerate(event):
            s = math.sqrt(v[j])
            if s > 1e-12:
                z = (x - m[j]) / (2 * s)
            else:
                z = 0.0 if r == 0 or x == m[j] else 10.0 if x > m[j] else -10.0
            u[names[j]] = 0.5 + 0.5 * z / (1 + abs(z))
        total = 0.0
        for tree in hst.trees if r >= window else []:
            node, k = tree, 0
            while k < hst.height and not node.r_mass < 0.1 * window:
                node, k = node.children[0 if u[node.feature] < node.threshold else 1], k + 1
            total += log2_mass[node.r_mass, k]
        scores.append(-total / hst.n_trees if r >= window else math.nan)
        hst.learn_one(u)
        w = max(FORGETTING, 1 / (r + 1))
        for j, x in enumerate(event):
            d = x - m[j]
            m[j] += w * d
            v[j] = (1 - w) * (v[j] + w * d * d)
    return np.array(scores)


def mixed(rng: np.random.Generator, rows: int) -> Floats:
    """Columns of every temper: normal, heavy-tailed, constant, constant until half-way, counts, tiny, 1e9 outliers."""
    X = np.empty((rows, 12))
    X[:, 0:4] = rng.normal(size=(rows, 4))
    X[:, 4:6] = rng.standard_cauchy(size=(rows, 2)) ** 3
    X[:, 6] = 0.1
    X[:, 7] = np.where(np.arange(rows) < rows // 2, -3.0, rng.choice([-3.0, -2.0, -4.0], rows))
    X[:, 8] = rng.poisson(0.1, rows)
    X[:, 9] = 1e-13 * rng.normal(size=rows)
    X[:, 10:12] = rng.uniform(size=(rows, 2))
    X[rng.integers(rows, size=5), rng.integers(12, size=5)] = 1e9
    X[rows * 3 // 4] = -1e9
    return X


# --- the same bits as River


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("features", "n_trees", "height", "window"),
    [(4, 10, 8, 250), (18, 10, 8, 50), (52, 10, 8, 250), (18, 25, 10, 250), (1, 3, 1, 1), (3, 2, 4, 7)],
)
def test_river_mode_is_bit_equal(features: int, n_trees: int, height: int, window: int, scaled: bool) -> None:
    rng, names = np.random.default_rng(features), columns(features)
    X = rng.uniform(size=(600, features)) if not scaled else rng.normal(3, 100, size=(600, features))
    X[::97] *= 5.0  # beyond the limits
    if scaled:
        X[:, 0] = np.where(np.arange(600) < 350, 7.0, X[:, 0])  # no range at first
    shape: dict[str, Any] = {"n_trees": n_trees, "height": height, "window_size": window}
    model = HalfSpaceTrees.build(names, "river", seed=42, scaled=scaled, **shape)
    assert not model.ready
    if not scaled:  # every third row lies on a threshold
        tree, node = rng.integers(n_trees, size=200), rng.integers(2 ** min(height, 3) - 1, size=200)
        X[np.arange(0, 600, 3), model.feature[tree, node]] = model.threshold[tree, node]
    hst: Any = anomaly.HalfSpaceTrees(seed=42, **shape)
    expected = river_scores(preprocessing.MinMaxScaler() | hst if scaled else hst, names, X)
    assert (expected[:window] == 0).all()
    expected[:window] = np.nan  # River's 0 would be the least anomalous score of all
    assert same(model.score_learn(X), expected)
    assert model.ready
    assert len(np.unique(expected[window:])) > (10 if window > 1 else 1)


def test_river_defaults_and_limits_are_rivers() -> None:
    names = columns(12)
    limits: dict[Any, tuple[float, float]] = {"f10": (-5.0, 5.0), "f2": (0.0, 0.25)}
    X = np.random.default_rng(1).normal(size=(600, 12))
    expected = river_scores(anomaly.HalfSpaceTrees(limits=limits, seed=5), names, X)
    model = HalfSpaceTrees.build(names, "river", limits=limits, seed=5)
    assert (model.n_trees, model.height, model.window_size, model.n_features) == (10, 8, 250, 12)
    assert same(model.score_learn(X)[250:], expected[250:])


def test_features_are_mapped_by_name_not_by_column() -> None:
    names = columns(12)  # as text, f10 and f11 sort before f2
    X = np.random.default_rng(2).uniform(size=(400, 12))
    scores = HalfSpaceTrees.build(names, seed=3, **FEW).score_learn(X)
    mirrored = HalfSpaceTrees.build(names[::-1], seed=3, **FEW)
    assert same(mirrored.score_learn(np.ascontiguousarray(X[:, ::-1])), scores)
    renamed = HalfSpaceTrees.build([f"f{i:02}" for i in range(12)], seed=3, **FEW)
    assert not same(renamed.score_learn(X), scores)  # another order by name: other draws for these columns


# --- the robust mode


def test_robust_mode_is_the_definition_in_plain_python() -> None:
    names = columns(12)
    shapes: list[dict[str, Any]] = [{"n_trees": 25, "height": 8}, {"n_trees": 4, "height": 3}]
    for seed, trees in enumerate(shapes):
        X = mixed(np.random.default_rng(seed), 800)
        model = HalfSpaceTrees.build(names, window_size=100, seed=seed, **trees)
        table = model.to_arrays()["log2_mass"]
        expected = robust_reference(X, names, 100, table, seed=seed, **trees)
        assert same(model.score_learn(X), expected)
        assert len(np.unique(expected[100:])) > 100


def test_soft_sign_of_flat_and_nearly_flat_features() -> None:
    mean, variance, row = np.full(6, 2.0), np.array([0.0, 0.0, 0.0, 1e-26, 1e-26, 4.0]), np.empty(6)
    x = np.array([2.0, 2.5, 1.5, 2.0, 2.5, 6.0])
    _soft_sign(x, False, mean, variance, row)
    assert row.tolist() == [0.5, 0.5 + 5 / 11, 0.5 - 5 / 11, 0.5, 0.5 + 5 / 11, 0.75]
    _soft_sign(x, True, mean, variance, row)
    assert row.tolist() == [0.5] * 6


def test_robust_defaults_and_constants() -> None:
    model = HalfSpaceTrees.build(columns(3))
    assert (model.mode, model.n_trees, model.height, model.window_size) == ("robust", 25, 8, 250)
    assert math.isclose(FORGETTING, 1 - 0.5 ** (1 / 1024), rel_tol=1e-12)
    table = model.to_arrays()["log2_mass"]
    exact = [[math.log2(1 + r * 2**depth) for depth in range(9)] for r in range(251)]
    assert np.allclose(table, exact, rtol=1e-15, atol=0)


def test_scores_come_from_the_stored_table_of_logarithms() -> None:
    model, X = HalfSpaceTrees.build(columns(4), seed=1, **FEW), np.random.default_rng(1).normal(size=(300, 4))
    arrays = model.to_arrays()
    arrays["log2_mass"] = arrays["log2_mass"] * (1 + 2.0**-50)  # as another maths library might have it
    other = HalfSpaceTrees.from_arrays(arrays)
    ours, theirs = model.score_learn(X)[50:], other.score_learn(X)[50:]
    assert (ours != theirs).any()
    assert np.allclose(ours, theirs, rtol=1e-13)


@pytest.mark.parametrize("wild", [1, 4])
def test_an_outlier_beyond_all_bounds_stands_out_in_robust_mode(wild: int) -> None:
    X = np.random.default_rng(3).uniform(size=(3000, 4))
    X[2000, :wild] = 1e9
    scores = HalfSpaceTrees.build(columns(4), seed=1).score_learn(X)
    normal = scores[250:2000]
    assert scores[2000] > np.quantile(normal, 0.9)
    assert scores[2000] > normal.max()
    later = scores[2001:]
    assert np.isfinite(later).all()
    assert len(np.unique(later)) > (900 if wild == 1 else 1)  # a feature that went wild is silent for long, no other


def test_an_outlier_beyond_all_bounds_ties_in_river_mode() -> None:
    X = np.random.default_rng(3).uniform(size=(1000, 4))
    model = HalfSpaceTrees.build(columns(4), "river", seed=1)
    model.score_learn(X)
    corner, beyond = (model.copy().score_learn(np.full((1, 4), value)) for value in (1.0, 1e9))
    assert same(corner, beyond)


@pytest.mark.parametrize("mode", ["robust", "river"])
def test_the_largest_values_do_no_harm(mode: Any) -> None:
    X = np.random.default_rng(4).choice([-LARGEST, LARGEST, 0.0, 5e-324], size=(400, 3))
    for scaled in {False, mode == "river"}:
        model = HalfSpaceTrees.build(columns(3), mode, scaled=scaled, **FEW)
        assert np.isfinite(model.score_learn(X)[50:]).all()
        HalfSpaceTrees.from_arrays(model.to_arrays())  # and the state passes its own check


@pytest.mark.parametrize(("mode", "scaled"), [("river", False), ("river", True), ("robust", False)])
def test_no_batch_split_changes_a_bit(mode: Any, scaled: bool) -> None:
    rng = np.random.default_rng(5)
    X, cold = mixed(rng, 700), built(mode, scaled, 12)
    whole = cold.copy()
    scores = whole.score_learn(X)
    for pieces in range(1, 21):
        model = cold.copy()
        cuts = np.sort(rng.integers(0, len(X) + 1, size=pieces**2))  # empty pieces too
        pieced = np.concatenate([model.score_learn(piece) for piece in np.split(X, cuts)])
        assert pieced.tobytes() == scores.tobytes()
        assert equal_arrays(model.state(), whole.state())


def test_copies_learn_apart_and_the_original_stays() -> None:
    rng = np.random.default_rng(6)
    warm = HalfSpaceTrees.build(columns(3), seed=1, **FEW)
    warm.score_learn(rng.normal(size=(120, 3)))
    before, X = warm.state(), rng.normal(2, 1, size=(200, 3))
    first = warm.copy()
    scores = first.score_learn(X)
    assert equal_arrays(warm.state(), before)
    assert same(warm.copy().score_learn(X), scores)
    assert first.feature is warm.feature


# --- River objects in and out


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("learned", [0, 30, 50, 175])
def test_to_river_goes_on_equally(learned: int, scaled: bool) -> None:
    rng, names = np.random.default_rng(7), columns(11)
    X = rng.normal(0.5, 0.3, size=(300, 11))
    model = built("river", scaled, 11).copy()
    model.score_learn(X[:learned])
    theirs = river_scores(model.to_river(), names, X[learned:])
    first_window = theirs[: max(0, 50 - learned)]
    assert (first_window == 0).all()
    first_window[:] = np.nan
    assert same(model.score_learn(X[learned:]), theirs)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("learned", [1, 30, 50, 175])
def test_from_river_goes_on_equally(learned: int, scaled: bool) -> None:
    rng, names = np.random.default_rng(8), columns(11)
    X = rng.normal(0.5, 0.3, size=(300, 11))
    hst: Any = anomaly.HalfSpaceTrees(10, 8, 50, seed=9)
    detector = preprocessing.MinMaxScaler() | hst if scaled else hst
    river_scores(detector, names, X[:learned])
    model = HalfSpaceTrees.from_river(detector, names)
    twin = built("river", scaled, 11).copy()
    twin.score_learn(X[:learned])
    known = twin.to_arrays()
    if learned >= 50:  # River knows that the first window is over, not how many there were
        known["learned"][...] = 50 + learned % 50
    assert equal_arrays(model.to_arrays(), known)
    theirs = river_scores(detector, names, X[learned:])
    theirs[: max(0, 50 - learned)] = np.nan
    assert same(model.score_learn(X[learned:]), theirs)


def test_from_river_refuses_what_it_cannot_be_true_to() -> None:
    names, event = ["a", "b"], {"a": 0.5, "b": 0.5}
    hst: Any = anomaly.HalfSpaceTrees(3, 3, 10, seed=1)
    with pytest.raises(ModelError, match="learn_one"):
        HalfSpaceTrees.from_river(hst, names)
    hst.learn_one(event)
    with pytest.raises(ModelError, match="features: lack 'a'"):
        HalfSpaceTrees.from_river(hst, ["b", "c"])
    scaler, rolling = preprocessing.MinMaxScaler(), preprocessing.MinMaxScaler(window_size=5)
    for detector in (preprocessing.StandardScaler() | hst, rolling | hst, scaler | scaler | hst):
        with pytest.raises(ModelError):
            HalfSpaceTrees.from_river(detector, names)
    with pytest.raises(ModelError, match="neither"):
        HalfSpaceTrees.from_river(anomaly.OneClassSVM(), names)
    with pytest.raises(ModelError, match="River has no robust"):
        HalfSpaceTrees.build(names).to_river()


# --- state


@pytest.mark.parametrize("learned", [0, 20, 50, 99, 130, 475])
@pytest.mark.parametrize(("mode", "scaled"), [("river", False), ("river", True), ("robust", False)])
def test_arrays_survive_a_file_without_pickle(mode: Any, scaled: bool, learned: int) -> None:
    rng = np.random.default_rng(9)
    X = rng.normal(0.5, 0.2, size=(800, 5))
    model = built(mode, scaled, 5).copy()
    model.score_learn(X[:learned])
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **model.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "iuf" for name in arrays)
        again = HalfSpaceTrees.from_arrays(arrays)
    assert (again.features, again.mode, again.scaled) == (model.features, mode, scaled)
    restored = built(mode, scaled, 5).copy()
    restored.restore(model.state())
    scores = model.score_learn(X[learned:])
    assert same(again.score_learn(X[learned:]), scores)
    assert same(restored.score_learn(X[learned:]), scores)


def test_masses_are_rivers_cell_by_cell() -> None:
    """Data that wander from batch to batch would show any cell that a window's end leaves uncleared."""
    rng, names = np.random.default_rng(10), columns(3)
    hst: Any = anomaly.HalfSpaceTrees(10, 8, 50, seed=4)
    model = HalfSpaceTrees.build(names, "river", seed=4, **FEW)
    for step in range(40):
        X = rng.uniform(size=3) + 0.1 * rng.normal(size=(17, 3))
        river_scores(hst, names, X)
        model.score_learn(X)
        ours, theirs = model.state(), HalfSpaceTrees.from_river(hst, names).state()
        assert np.array_equal(ours["latest"], theirs["latest"]), step
        assert np.array_equal(ours["finished"], theirs["finished"]), step


def test_state_and_arrays_are_copies() -> None:
    model = HalfSpaceTrees.build(columns(3), seed=1, **FEW)
    model.score_learn(np.random.default_rng(0).normal(size=(60, 3)))
    given, kept = model.to_arrays(), model.to_arrays()
    again = HalfSpaceTrees.from_arrays(given)
    for array in given.values():
        array[...] = 0
    assert equal_arrays(model.to_arrays(), kept)
    assert equal_arrays(again.to_arrays(), kept)


def put(name: str, value: Any, *at: int) -> Callable[[Arrays], None]:
    """A change of one cell (or, without a place, of all)."""

    def change(arrays: Arrays) -> None:
        arrays[name][at or ...] = value

    return change


def turn(name: str, into: Callable[[NDArray[Any]], Any]) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = into(arrays[name])

    return change


HOSTILE: dict[str, Callable[[Arrays], Any]] = {
    "a feature too many": put("feature", 4, 0, 0),
    "a negative feature": put("feature", -1, 0, 0),
    "features as int64": turn("feature", lambda a: a.astype(np.int64)),
    "features in the other byte order": turn("feature", lambda a: a.astype(a.dtype.newbyteorder())),
    "features in one dimension": turn("feature", lambda a: a.ravel()),
    "a tree that is not full": turn("feature", lambda a: a[:, :-1].copy()),
    "fewer trees than thresholds": turn("feature", lambda a: a[:-1].copy()),
    "threshold nan": put("threshold", np.nan, 1, 3),
    "threshold inf": put("threshold", np.inf, 1, 3),
    "thresholds as float32": turn("threshold", lambda a: a.astype(np.float32)),
    "mass too large": put("finished", 51, 0, 0),
    "mass negative": put("finished", -1, 0, 200),
    "masses that do not add up": put("finished", 50, 0, 300),
    "latest masses that do not add up": put("latest", 1, 2, 510),
    "no finished window": put("finished", 0),
    "counter off by one": put("learned", 124),
    "counter negative": put("learned", -75),
    "counter without end": put("learned", 2**63 - 1),
    "counter in the first window": put("learned", 25),
    "counter as float": turn("learned", lambda a: a.astype(np.float64)),
    "window 0": put("window_size", 0),
    "window immense": put("window_size", 2**62),
    "window of another table": put("window_size", 51),
    "no name": turn("features", lambda a: a[:0]),
    "a name too few": turn("features", lambda a: a[:-3]),
    "a name twice": put("features", ord("0"), 4),
    "names not in UTF-8": put("features", 255, 0),
    "names with control characters": put("features", 0, 0),
    "names as text": turn("features", lambda a: np.array(columns(4))),
    "an array missing": lambda arrays: arrays.pop("threshold"),
    "an array too many": lambda arrays: arrays.update(guard=np.zeros(3)),
    "not an array": turn("threshold", lambda a: a.tolist()),
    "mean nan": put("mean", np.nan, 0),
    "mean immense": put("mean", 1e300, 0),
    "variance negative": put("variance", -1.0, 0),
    "variance nan": put("variance", np.nan, 0),
    "table nan": put("log2_mass", np.nan, 3, 3),
    "table wrong": put("log2_mass", 1e6, 3, 3),
    "table too short": turn("log2_mass", lambda a: a[:-1].copy()),
    "no table": lambda arrays: arrays.pop("log2_mass"),
}


def warm_model(mode: Any, scaled: bool = False) -> HalfSpaceTrees:
    model = built(mode, scaled, 4).copy()
    model.score_learn(np.random.default_rng(1).uniform(size=(125, 4)))
    return model


@pytest.mark.parametrize("harm", HOSTILE)
def test_hostile_arrays_are_refused(harm: str) -> None:
    arrays = warm_model("robust").to_arrays()
    HalfSpaceTrees.from_arrays(arrays)
    HOSTILE[harm](arrays)
    with pytest.raises(ModelError):
        HalfSpaceTrees.from_arrays(arrays)


@pytest.mark.parametrize(("low", "high"), [(np.nan, 1.0), (1.0, 0.0), (-np.inf, 0.0), (0.0, np.inf), (np.inf, 0.0)])
def test_hostile_ranges_are_refused(low: float, high: float) -> None:
    arrays = warm_model("river", scaled=True).to_arrays()
    arrays["low"][2], arrays["high"][2] = low, high
    with pytest.raises(ModelError, match=r"low and high|outside"):
        HalfSpaceTrees.from_arrays(arrays)


def test_a_refused_state_changes_nothing() -> None:
    model = warm_model("robust")
    before = model.state()
    for harm in ("variance negative", "latest masses that do not add up", "mass negative", "counter off by one"):
        state = model.state()
        HOSTILE[harm](state)
        with pytest.raises(ModelError):
            model.restore(state)
        assert equal_arrays(model.state(), before)
    with pytest.raises(ModelError, match="expected the arrays"):
        model.restore(warm_model("river", scaled=True).state())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_value_that_is_no_number_is_refused_before_anything_is_learned(value: float) -> None:
    model = warm_model("robust")
    before, X = model.state(), np.zeros((6, 4))
    X[4, 2] = value
    with pytest.raises(RowRefused, match=r"row 4, column 2: f2 is .* impute missing values before") as refused:
        model.score_learn(X)
    assert (refused.value.row, refused.value.column) == (4, 2)
    assert equal_arrays(model.state(), before)


@pytest.mark.parametrize(
    "X", [np.zeros((3, 5)), np.zeros(4), np.zeros((3, 4), np.float32), np.zeros((4, 3)).T, np.zeros((3, 8))[:, ::2]]
)
def test_another_matrix_is_refused(X: Any) -> None:
    with pytest.raises(ModelError, match=r"expected float64\[n, 4\] in C order"):
        warm_model("river").score_learn(X)


def test_read_only_input_and_no_input_are_fine() -> None:
    model, X = warm_model("robust"), np.zeros((2, 4))
    X.setflags(write=False)
    assert model.copy().score_learn(X).shape == (2,)
    assert model.score_learn(np.empty((0, 4))).shape == (0,)


OUT_OF_RANGE: dict[str, list[Any]] = {
    "features": [[], ["a", "a"], ["a", "b\nc"], ["a", ""]],
    "n_trees": [0],
    "height": [0, 21, 10**9],
    "window_size": [0, 1 << 21],
    "limits": [{"c": (0.0, 1.0)}, {"a": (1.0, 1.0)}, {"a": (0.0, math.inf)}],
    "mode": ["fast"],
    "scaled": [True],  # robust has its own scaling
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_parameters_out_of_range_are_refused(name: str) -> None:
    usual: dict[str, Any] = {"features": ["a", "b"], "n_trees": 2, "height": 2}
    for value in OUT_OF_RANGE[name]:
        with pytest.raises(ModelError):
            HalfSpaceTrees.build(**(usual | {name: value}))


def test_importing_brings_in_neither_river_nor_sklearn() -> None:
    code = "import sys, skimstream.scoring.halfspace; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "numba" in loaded
    assert "'river'" not in loaded
    assert "'sklearn'" not in loaded
