"""What half-space trees say of each feature: of the moment of scoring, however batches are cut."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skimstream.scoring import halfspace
from skimstream.scoring.halfspace import HalfSpaceTrees

Floats = NDArray[np.float64]
NAMES = ["a", "b", "c", "d"]
MODES = [{"mode": "robust"}, {"mode": "river"}, {"mode": "river", "scaled": True}]
ROWS = np.random.default_rng(0).normal(size=(400, 4))
ROWS[::37] *= 6


def trees(options: dict[str, Any]) -> HalfSpaceTrees:
    return HalfSpaceTrees.build(NAMES, n_trees=6, height=5, window_size=60, seed=3, **options)


def seen(model: HalfSpaceTrees, x: Floats) -> Floats:
    """An event as the trees see it, from the scaling before it."""
    state = model.state()
    if model.mode == "robust":
        spread = np.sqrt(state["variance"])
        z = np.zeros(len(x)) if state["learned"] == 0 else (x - state["mean"]) / (2 * spread)
        return np.asarray(0.5 + 0.5 * z / (1 + np.abs(z)))
    if model.scaled:
        width = state["high"] - state["low"]
        return np.asarray((x - state["low"]) / width) if np.isfinite(width).all() else np.zeros(len(x))
    return x


def plainly(model: HalfSpaceTrees, x: Floats) -> tuple[Floats, float]:
    """Contributions to an event's score before it is learned, and the score that the root alone would give."""
    row, masses, height = seen(model, x), model.state()["finished"], model.height
    found, window, count = np.zeros(len(x)), model.window_size, model.n_trees
    largest = count * window * (2 ** (height + 1) - 1)
    for feature, threshold, mass in zip(model.feature, model.threshold, masses, strict=True):
        node, depth = 0, 0
        while depth < height and mass[node] >= 0.1 * window:
            child = 2 * node + (1 if row[feature[node]] < threshold[node] else 2)
            ends = depth + 1 == height or mass[child] < 0.1 * window
            before, after = int(mass[node]) * 2**depth, int(mass[child]) * 2 ** (depth + 1)
            if model.mode == "robust":
                found[feature[node]] += np.log2((1.0 + before) / (1.0 + after)) / count
            else:
                to_come = after * (1 if ends else height - depth)
                found[feature[node]] += (before * (height - depth) - to_come) / largest
            node, depth = child, depth + 1
    alone = -np.log2(1.0 + window) if model.mode == "robust" else 1 - count * window * (height + 1) / largest
    return found, float(alone)


@pytest.mark.parametrize("options", MODES)
def test_contributions_are_those_of_the_state_before_and_add_up_to_the_score(options: dict[str, Any]) -> None:
    model, plain = trees(options), trees(options)
    scores, trail = model.score_learn_traced(ROWS)
    assert trail is not None
    found = trail.contributions(np.arange(len(ROWS)))
    for i, row in enumerate(ROWS):
        if plain.ready:
            expected, alone = plainly(plain, row)
            np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-12)
            assert found[i].sum() == pytest.approx(scores[i] - alone, rel=0, abs=1e-12)
        else:
            assert np.isnan(found[i]).all()
        plain.score_learn(ROWS[i : i + 1])


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("size", [1, 7, 60, 61, 150])
def test_batches_change_no_bit_nor_does_what_is_learned_later(options: dict[str, Any], size: int) -> None:
    whole, parts, plain = trees(options), trees(options), trees(options)
    scores, trail = whole.score_learn_traced(ROWS)
    pieces = [parts.score_learn_traced(ROWS[at : at + size]) for at in range(0, len(ROWS), size)]
    assert trail is not None
    expected = trail.contributions(np.arange(len(ROWS)))
    found = [piece.contributions(np.arange(len(one))) for one, piece in pieces if piece is not None]  # all learned
    np.testing.assert_array_equal(np.concatenate(found), expected)
    np.testing.assert_array_equal(trail.contributions(np.array([300, 90])), expected[[300, 90]])
    np.testing.assert_array_equal(plain.score_learn(ROWS), scores)
    for name, array in plain.state().items():
        np.testing.assert_array_equal(array, whole.state()[name])


def test_a_batch_of_nothing_has_a_trail_of_nothing() -> None:
    _, trail = trees({}).score_learn_traced(ROWS[:0])
    assert trail is not None
    assert trail.contributions(np.arange(0)).shape == (0, 4)


def test_trees_that_would_take_much_memory_say_nothing_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halfspace, "MOST_TRAIL_CELLS", 6 + 6 * 63 // 60 - 1)
    model, plain = trees({}), trees({})
    for rows in (ROWS[:1], ROWS[:200]):
        scores, trail = model.score_learn_traced(rows)
        assert trail is None
        np.testing.assert_array_equal(scores, plain.score_learn(rows))
