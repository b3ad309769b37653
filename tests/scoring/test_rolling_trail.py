"""What rolling parts and guarded trees say of each feature: of the moment of scoring, however batches are cut."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from skimstream.scoring.ecdf import RollingEcdf
from skimstream.scoring.halfspace import HalfSpaceTrees
from skimstream.scoring.sliding import SlidingForest

ROWS = np.random.default_rng(0).normal(size=(400, 4))
ROWS[::37, 2] *= 6
MAKERS: dict[str, Callable[[], Any]] = {
    "sliding": lambda: SlidingForest(4, seed=1, trees=10, samples=32, window=100, every=60),
    "ecdf": lambda: RollingEcdf(4, window=100, every=60),
    "guarded": lambda: HalfSpaceTrees.build(list("abcd"), n_trees=6, height=5, window_size=60, winsor=True, guard=True),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [1, 7, 60, 150])
def test_batches_change_no_bit(name: str, size: int) -> None:
    whole, parts, plain = MAKERS[name](), MAKERS[name](), MAKERS[name]()
    scores, trail = whole.score_learn_traced(ROWS)
    expected = trail.contributions(np.arange(len(ROWS)))
    pieces = [(at, parts.score_learn_traced(ROWS[at : at + size])) for at in range(0, len(ROWS), size)]  # all learned
    for at, (_, piece) in pieces:
        rows = np.arange(len(ROWS[at : at + size]))
        np.testing.assert_array_equal(piece.contributions(rows), expected[at : at + size])
    np.testing.assert_array_equal(np.isnan(expected).all(axis=1), np.isnan(scores))
    np.testing.assert_array_equal(plain.score_learn(ROWS), scores)
    assert whole.score_learn_traced(ROWS[:0])[1].contributions(np.arange(0)).shape == (0, 4)


@pytest.mark.parametrize("name", MAKERS)
def test_contributions_add_up_to_the_score_less_what_is_the_same_for_all(name: str) -> None:
    scores, trail = MAKERS[name]().score_learn_traced(ROWS)
    if name == "sliding":  # path lengths, mean over the trees, from c(samples) on
        average = 2 * sum(1 / i for i in range(1, 32)) - 2 * 31 / 32
        scores = average + np.log2(scores) * average
    total = trail.contributions(np.arange(len(ROWS))).sum(axis=1) - scores
    heard = total[180:] if name == "ecdf" else total[~np.isnan(scores)]  # rows by 60, then 100 as a reference
    np.testing.assert_allclose(heard, heard[0], rtol=0, atol=1e-12)
    if name == "sliding":
        np.testing.assert_allclose(heard, 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_far_out_is_what_counts(name: str) -> None:
    rows = ROWS.copy()
    rows[300] = 0.0, 0.0, 0.0, 9.0
    _, trail = MAKERS[name]().score_learn_traced(rows)
    assert int(np.argmax(trail.contributions(np.array([300]))[0])) == 3
