"""What a broken rule does to a score, and to what is learned: everything, and nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from skimstream.scoring.combine import CAP, FLOOR
from skimstream.scoring.explain import Explanations
from skimstream.scoring.model import Model
from skimstream.scoring.rules import rule_scores
from skimstream.scoring.train import Options, train

NAMES, UNITS = ("a", "rule_first", "b", "rule_second"), ("1", "1", "1", "1")
Floats = NDArray[np.float64]


def rows(n: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    matrix = np.zeros((n, 4))
    matrix[:, [0, 2]] = rng.normal(size=(n, 2))
    matrix[rng.random(n) < 0.1, 3] = np.nan  # can't be judged
    return matrix


def breaking(matrix: Floats, seed: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    matrix = matrix.copy()
    matrix[rng.random(len(matrix)) < 0.2, 1] = 1
    matrix[rng.random(len(matrix)) < 0.05, 3] = 1
    return matrix


@pytest.fixture(scope="module")
def model() -> Model:
    return train("test", NAMES, UNITS, rows(1_500), options=Options(trees=10))


def test_a_broken_rule_ranks_above_all_that_the_parts_can_say(model: Model) -> None:
    matrix = breaking(rows(600, 2))
    matrix[::7, 0] = 1e9  # as odd as can be
    found, broken = model.ensemble().score_learn(matrix), (matrix[:, [1, 3]] > 0).sum(axis=1)
    assert found.score[broken > 0].min() >= 0.999999 > found.score[broken == 0].max()
    assert found.combined[broken > 0].min() > CAP >= found.combined[broken == 0].max()
    assert found.score[broken == 2].min() > found.score[broken == 1].max()
    assert (found.score < 1).all()


def test_no_tail_of_the_ranker_reaches_a_broken_rule() -> None:
    longest, excess = 50_000, CAP - FLOOR
    assert rule_scores(np.ones(1))[0][0] > (longest + excess / (1 + excess)) / (longest + 1)


def test_rows_that_break_a_rule_teach_nothing_and_change_no_other_score(model: Model) -> None:
    matrix = breaking(rows(600, 3))
    kept = ~(matrix[:, [1, 3]] > 0).any(axis=1)
    with_them, without = model.ensemble(), model.ensemble()
    mixed, alone = with_them.score_learn(matrix), without.score_learn(matrix[kept])
    np.testing.assert_array_equal(mixed.score[kept], alone.score)
    np.testing.assert_array_equal(mixed.z[kept], alone.z)
    for name, array in without.to_arrays().items():
        np.testing.assert_array_equal(with_them.to_arrays()[name], array)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_batches_change_no_bit(model: Model, size: int) -> None:
    matrix = breaking(rows(300, 4))
    whole, ensemble = model.ensemble().score_learn(matrix), model.ensemble()
    parts = [ensemble.score_learn(matrix[at : at + size]) for at in range(0, len(matrix), size)]
    for field in ("score", "combined", "raw", "z", "missing"):
        together = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(together, getattr(whole, field))


def test_the_parts_stay_told_apart_from_the_rules(model: Model) -> None:
    matrix = rows(2, 5)
    matrix[1, 1] = 1
    found = model.ensemble().score_learn(matrix)
    filled, _ = model.reference.fill(matrix)
    assert found.raw[1, 0] == model.forest.anomaly(filled)[1]
    assert np.isnan([found.raw[1, 1], *found.z[1]]).all()
    why = Explanations(matrix, model.reference, model.features, model.units)
    assert str(why.reasons(1)[0]) == "rule_first: first is broken"
    assert not any(reason.feature.startswith("rule_") for reason in why.reasons(0))


def test_training_leaves_out_what_breaks_a_rule() -> None:
    matrix = breaking(rows(2_000, 6))
    kept = ~(matrix[:, [1, 3]] > 0).any(axis=1)
    trained, clean = train("test", NAMES, UNITS, matrix), train("test", NAMES, UNITS, matrix[kept])
    assert trained.id == clean.id
    assert trained.training["rule_breaking_rows"] == (~kept).sum() > 0
