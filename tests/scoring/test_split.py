"""Rows are split by time or by entity, inside of training, too; and nothing later reaches a training row."""

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from skimstream.scoring.split import Split, SplitError, by_entity, by_time, given, make, usable


def people(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return np.array(numbers, np.uint64)


entities = st.lists(st.integers(0, 6), min_size=12, max_size=80).filter(lambda drawn: len(set(drawn)) > 3)


def inner_of(split: Split) -> Split | None:
    """The split inside of training; None, and said so, where training is one entity or too few rows for the share."""
    whose = split.entity[split.train]
    groups = len(set(whose.tolist()) - {0}) + int((whose == 0).sum())
    if 0 < round(len(whose) * split.share) < len(whose) and (groups > 1 or split.kind != "grouped"):
        return split.inner()
    with pytest.raises(SplitError):
        split.inner()
    return None


@settings(deadline=None)
@examples(entities, st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 5))
def test_every_row_is_on_one_side_and_none_is_twice(numbers: list[int], share: float, seed: int) -> None:
    for split in (by_time(people(*numbers), share), by_entity(people(*numbers), share, seed)):
        both = np.concatenate([split.train, split.test])
        assert sorted(both.tolist()) == list(range(len(numbers)))
        assert len(split.train) > 0 < len(split.test)
        if inner := inner_of(split):
            assert sorted([*inner.train, *inner.test]) == split.train.tolist()


@settings(deadline=None)
@examples(entities, st.integers(0, 5))
def test_grouped_has_nobody_on_both_sides_inside_of_training_neither(numbers: list[int], seed: int) -> None:
    split = by_entity(people(*numbers), 0.25, seed)
    inner = inner_of(split)
    assert split.straddling == 0
    if inner is None:
        return
    assert inner.straddling == 0
    for fitted, judged in split.folds(2):
        whose = split.entity[split.train]
        assert not set(whose[fitted].tolist()) & set(whose[judged].tolist()) - {0}


@settings(deadline=None)
@examples(entities)
def test_by_time_all_that_is_judged_comes_after_all_that_is_fitted(numbers: list[int]) -> None:
    split = by_time(people(*numbers))
    inner = split.inner()
    assert split.train.max() < split.test.min()
    assert inner.train.max() < inner.test.min() <= inner.test.max() < split.test.min()
    for fitted, judged in split.folds(3):
        assert fitted.max() < judged.min()


def test_straddling_counts_entities_and_nobody_is_none() -> None:
    split = by_time(people(1, 0, 2, 3, 1, 0, 2, 4), 0.5)
    assert split.straddling == 2
    assert split.describe()["entities_on_both_sides"] == 2


def test_the_seed_chooses_the_entities() -> None:
    whose = people(*(np.arange(400) % 40 + 1))
    tests = {by_entity(whose, 0.25, seed).test.tobytes() for seed in (1, 1, 2)}
    assert len(tests) == 2
    assert len(by_entity(whose, 0.25, 1).test) == 100


def test_rows_of_nobody_are_entities_of_their_own() -> None:
    split = by_entity(people(*[0] * 40), 0.25)
    assert len(split.test) == 10


def test_a_given_test_follows_training() -> None:
    split = make("given", people(1, 1, 2, 2), 3, 0.25, 1)
    assert (split.train.tolist(), split.test.tolist(), split.kind) == ([0, 1, 2], [3], "given")
    assert isinstance(make("time", people(1, 1, 2, 2), 0, 0.25, 1), Split)


@pytest.mark.parametrize(
    ("split", "word"),
    [
        (lambda: by_time(people(1, 2), 0.0), "empty"),
        (lambda: by_time(people(1, 2), 1.0), "empty"),
        (lambda: by_entity(people(3, 3, 3, 3)), "one entity"),
        (lambda: given(people(1, 2), 2), "need rows"),
        (lambda: by_entity(people(1, 1, 1, 2, 2, 2)).folds(3), "folds"),
    ],
)
def test_what_cant_be_split_says_why(split: object, word: str) -> None:
    with pytest.raises(SplitError, match=word):
        split()  # type: ignore[operator]


def test_folds_without_both_kinds_judge_nothing() -> None:
    labels = np.array([True, False, False, False, True, False])
    folds = [(np.array([0, 1]), np.array([2, 3])), (np.array([0, 1]), np.array([4, 5]))]
    assert usable(folds, labels) == folds[1:]
