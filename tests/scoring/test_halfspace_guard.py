"""Half-space trees for bursty streams: the options' definition in plain Python, batches, state, and their use."""

import io
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import anomaly

from skimstream.scoring.errors import ModelError
from skimstream.scoring.halfspace import HalfSpaceTrees
from skimstream.scoring.halfspace_kernel import FORGETTING

Floats = NDArray[np.float64]
NAMES = [f"f{i}" for i in range(6)]
OPTIONS = [(True, False), (False, True), (True, True)]
SHAPE: dict[str, Any] = {"n_trees": 5, "height": 5, "window_size": 120, "seed": 3}


def bursty(seed: int, rows: int = 1_500) -> Floats:
    """Ordinary rows, a constant column, a heavy-tailed one, outliers, and a burst longer than the window."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 6))
    X[:, 2] = 7.0
    X[:, 3] = rng.standard_cauchy(size=rows) ** 3
    X[rng.integers(rows, size=20), 0] = 40.0
    X[700:900] += 6.0
    X[319] = 60.0  # the 200th that is scored: the guard starts with it, and lets it pass
    return X


def reference(X: Floats, log2_mass: Floats, winsor: bool, guard: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """HST-C and HST-J, line by line, on River's own nodes: the scores, and which events were learned."""
    window = SHAPE["window_size"]
    hst: Any = anomaly.HalfSpaceTrees(SHAPE["n_trees"], SHAPE["height"], window, seed=SHAPE["seed"])
    m, v, scores, learned = [0.0] * 6, [0.0] * 6, np.full(len(X), math.nan), np.ones(len(X), np.bool_)
    ns, M, V, q, r = 0, 0.0, 0.0, math.inf, 0
    for i, event in enumerate(X.tolist()):
        u = {}
        for j, x in enumerate(event):
            s = math.sqrt(v[j])
            if s > 1e-12:
                z = (x - m[j]) / (2 * s)
            else:
                z = 0.0 if r == 0 or x == m[j] else 10.0 if x > m[j] else -10.0
            u[NAMES[j]] = 0.5 + 0.5 * z / (1 + abs(z))
        hit = False
        if r >= window:
            total = 0.0
            for tree in hst.trees:
                node, k = tree, 0
                while k < hst.height and not node.r_mass < 0.1 * window:
                    node, k = node.children[0 if u[node.feature] < node.threshold else 1], k + 1
                total -= log2_mass[node.r_mass, k]
            scores[i] = sc = total / hst.n_trees
            if guard:
                ns += 1
                g = max(0.001, 1 / ns)
                e = sc - M
                M += g * e
                V = (1 - g) * (V + g * e * e)
                if ns == 200:
                    q = M + 2 * math.sqrt(V)
                if ns > 200:
                    hit = sc > q
                    q += 0.002 * math.sqrt(V) * ((1 if hit else 0) - 0.02)
        learned[i] = not hit
        if hit:
            continue
        hst.learn_one(u)
        w = max(FORGETTING, 1 / (r + 1))
        for j, x in enumerate(event):
            d = x - m[j]
            if winsor and r > 100 and math.sqrt(v[j]) > 0:
                d = min(max(d, -3 * math.sqrt(v[j])), 3 * math.sqrt(v[j]))
            m[j] += w * d
            v[j] = (1 - w) * (v[j] + w * d * d)
        r += 1
    return scores, learned


def same(ours: Any, theirs: Any) -> bool:
    return ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


@pytest.mark.parametrize(("winsor", "guard"), OPTIONS)
def test_it_is_the_definition_in_plain_python(winsor: bool, guard: bool) -> None:
    for seed in range(2):
        model, X = HalfSpaceTrees.build(NAMES, **SHAPE, winsor=winsor, guard=guard), bursty(seed)
        scores, learned = reference(X, model.to_arrays()["log2_mass"], winsor, guard)
        assert model.score_learn(X).tobytes() == scores.tobytes()
        assert model.state()["learned"] == learned.sum()
        assert learned[:120].all()
        assert bool(learned.all()) is not guard
        plain = HalfSpaceTrees.build(NAMES, **SHAPE).score_learn(X)
        assert (plain != scores)[120:].any()


@pytest.mark.parametrize(("winsor", "guard"), OPTIONS)
def test_no_batch_split_and_no_restart_changes_a_bit(winsor: bool, guard: bool) -> None:
    rng, X = np.random.default_rng(5), bursty(2)
    cold = HalfSpaceTrees.build(NAMES, **SHAPE, winsor=winsor, guard=guard)
    whole = cold.copy()
    scores = whole.score_learn(X)
    for pieces in (1, 3, 10, 100):
        model, pieced = cold.copy(), []
        for piece in np.split(X, np.sort(rng.integers(0, len(X) + 1, size=pieces))):
            pieced.append(model.score_learn(piece))
            file = io.BytesIO()
            np.savez(file, allow_pickle=False, **model.to_arrays())
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                again = HalfSpaceTrees.from_arrays(arrays)
            assert (again.winsor, again.guard) == (winsor, guard)
            model = cold.copy()
            model.restore(again.state())
        assert np.concatenate(pieced).tobytes() == scores.tobytes()
        assert same(model.state(), whole.state())


def test_neither_option_is_the_plain_robust_mode_with_its_very_arrays() -> None:
    arrays = HalfSpaceTrees.build(NAMES, **SHAPE).to_arrays()
    assert not {"winsor", "guard"} & arrays.keys()


def test_a_burst_longer_than_the_window_stays_anomalous_and_a_lasting_change_does_not() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 6))
    X[3_000:3_500] += 4.0  # a burst of two windows
    X[8_000:] += 4.0  # from here on it is normal
    for guard in (False, True):
        scores = HalfSpaceTrees.build(NAMES, window_size=250, seed=1, winsor=guard, guard=guard).score_learn(X)
        bar = np.quantile(scores[2_000:3_000], 0.99)
        late = float((scores[3_400:3_500] > bar).mean())
        assert late > 0.9 if guard else late < 0.5, (guard, late)
        assert (scores[-2_000:] > bar).mean() < 0.1, guard


HOSTILE: dict[str, Any] = {
    "counted by halves": lambda g: [g[0] + 0.5, *g[1:]],
    "counted less than learned": lambda g: [250.0, *g[1:]],
    "counted negative": lambda g: [-1.0, *g[1:]],
    "counted without end": lambda g: [1e300, *g[1:]],
    "a score above all": lambda g: [g[0], 1e9, *g[2:]],
    "mean nan": lambda g: [g[0], math.nan, *g[2:]],
    "variance negative": lambda g: [*g[:2], -1.0, g[3]],
    "variance nan": lambda g: [*g[:2], math.nan, g[3]],
    "level nan": lambda g: [*g[:3], math.nan],
    "level infinite": lambda g: [*g[:3], math.inf],
    "level out of reach": lambda g: [*g[:3], 1e9],
    "too short": lambda g: g[:3],
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_hostile_guard_is_refused_and_changes_nothing(harm: str) -> None:
    model = HalfSpaceTrees.build(NAMES, **SHAPE, guard=True)
    model.score_learn(bursty(0))
    before, state = model.state(), model.state()
    state["guard"] = np.array(HOSTILE[harm](state["guard"].tolist()))
    with pytest.raises(ModelError, match="guard"):
        model.restore(state)
    assert same(model.state(), before)


def test_a_guard_that_can_have_started_only_later_is_refused() -> None:
    model = HalfSpaceTrees.build(NAMES, **SHAPE, guard=True)
    for rows, bad in ((60, [1.0, 0.0, 0.0, math.inf]), (60, [0.0, 0.0, 0.0, 1.0]), (180, [100.0, -1.0, 0.0, -1.0])):
        cold = model.copy()
        cold.score_learn(bursty(0)[:rows])
        cold.restore(cold.state())
        with pytest.raises(ModelError, match="guard"):
            cold.restore(cold.state() | {"guard": np.array(bad)})


def test_options_that_do_not_fit_are_refused() -> None:
    for winsor, guard in OPTIONS:
        with pytest.raises(ModelError, match="mode"):
            HalfSpaceTrees.build(NAMES, "river", winsor=winsor, guard=guard)
    plain = HalfSpaceTrees.build(NAMES, **SHAPE)
    guarded = HalfSpaceTrees.build(NAMES, **SHAPE, winsor=True, guard=True)
    for model, other in ((plain, guarded), (guarded, plain)):
        with pytest.raises(ModelError, match="expected the arrays"):
            model.restore(other.state())
    with pytest.raises(ModelError, match="winsor"):
        HalfSpaceTrees.from_arrays(guarded.to_arrays() | {"winsor": np.array(4.0)})
