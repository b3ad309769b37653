"""The search for parameters: repeatable, judged by folds that keep time apart, refused without labels."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from skimstream.scoring.prepare import Reference
from skimstream.scoring.recipe import Examples, Recipe
from skimstream.scoring.search import MOST_SAMPLES, Filler, Found, NothingToChooseBy, search, space
from skimstream.scoring.split import by_entity, by_time
from skimstream.scoring.study import study
from skimstream.scoring.train import Options

TREES = (10, 20)
N = 1_900


def rows(
    seed: int = 5,
) -> tuple["np.ndarray[tuple[int, int], np.dtype[np.float64]]", "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    rng = np.random.default_rng(seed)
    labels = rng.random(N) < 0.06
    matrix = rng.normal(size=(N, 4)) + labels[:, None] * np.array([2.5, 2.5, 0.0, 0.0])
    matrix[rng.random(matrix.shape) < 0.02] = np.nan
    return matrix, labels


def examples(labelled: bool = True) -> Examples:
    matrix, labels = rows()
    entity, record = np.arange(N, dtype=np.uint64) % 50 + 1, np.arange(N, dtype=np.uint64)
    features = ("a", "b", "c", "d")
    return Examples("test", features, ("1",) * 4, matrix, entity, record, labels if labelled else None)


def found(kind: str, seed: int = 1, iterations: int = 3) -> Found:
    matrix, labels = rows()
    folds = by_time(np.zeros(N, np.uint64)).folds(2)
    train = by_time(np.zeros(N, np.uint64)).train
    return search(kind, matrix[train], labels[train], folds, iterations, seed, trees=TREES)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["isolation", "random"])
def test_the_same_seed_finds_the_same_and_another_something_else(kind: str) -> None:
    first = found(kind)
    assert first == found(kind)
    assert first.trials != found(kind, seed=2).trials
    assert [trial.mean for trial in first.trials] == sorted((trial.mean for trial in first.trials), reverse=True)
    assert first.parameters == first.trials[0].parameters
    assert first.trials[0].mean > 0.5  # the base rate is .06
    assert set(first.parameters) == set(space(kind, 100))  # type: ignore[arg-type]


def test_contamination_moves_no_score() -> None:
    matrix, _ = rows()
    filled = Reference.fit(matrix).fill(matrix)[0]
    scores = [
        IsolationForest(n_estimators=10, contamination=share, random_state=1).fit(filled).score_samples(filled)
        for share in (0.01, 0.25)
    ]
    assert np.array_equal(*scores)


def test_the_space_is_the_references_and_has_a_bound() -> None:
    small, large = space("isolation", 600), space("isolation", 1_000_000)
    assert small["n_estimators"] == list(range(100, 501, 50))
    assert {60, 256, 600} <= set(small["max_samples"])
    assert set(large["max_samples"]) == {256, MOST_SAMPLES}
    assert set(space("isolation", 100)["max_samples"]) == set(range(10, 101, 10))


def test_what_fills_gaps_is_fitted_in_each_fold_alone() -> None:
    train, test = np.array([[0.0], [2.0], [4.0]]), np.array([[np.nan], [1e9]])
    filled = Filler().fit(train).transform(test)
    assert filled[0, 0] == 2.0
    assert filled[1, 0] < 100


def test_progress_tells_every_fit() -> None:
    matrix, labels = rows()
    told: list[int] = []
    split = by_entity(np.arange(N, dtype=np.uint64) % 50 + 1)
    search("isolation", matrix[split.train], labels[split.train], split.folds(2), 2, 1, told.append, TREES)
    assert told == [1, 2, 3, 4]


def test_without_labels_there_is_nothing_to_choose_by() -> None:
    with pytest.raises(NothingToChooseBy, match="--labels"):
        study(examples(labelled=False), by_time(examples().entity), Recipe(forest="isolation", search=2))
    matrix, _ = rows()
    folds = by_time(np.zeros(N, np.uint64)).folds(2)
    with pytest.raises(NothingToChooseBy, match="no fold"):
        search("isolation", matrix, np.arange(N) < 1, folds, 2, 1)


def test_a_study_trains_what_was_found_and_is_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skimstream.scoring.search.space", lambda kind, count, trees: space(kind, count, TREES))
    recipe = Recipe(Options(trees=10), "isolation", search=2, folds=2, final="train", resamples=20)
    one, other = (study(examples(), by_time(examples().entity), recipe) for _ in range(2))
    assert one.model.id == other.model.id
    assert one.found
    tuned = one.model.training["forest"]["tuned"]
    assert tuned == dict(one.found.parameters)
    assert one.model.forest.n_trees == tuned["n_estimators"] <= 20
    assert one.model.training["search"]["tried"] == 2
    assert one.model.metrics["test"]["of"] == "this model"
