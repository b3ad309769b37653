"""Which rows train and which are held back: by time or by entity, never row by row at random.

A row of a stream is no independent draw: the same user, object or instrument comes again. A random split would put one
session of a user into training and the next into the test, and what the test then measures is memory.

- "time": the last rows are the test, as a detector meets them. An entity may stand on both sides, for a running
  detector knows its users, too: each row's features come from what happened before it, on either side of the cut, and
  no row counts twice. `straddling` tells how many such entities there are.
- "grouped": whole entities, chosen by the seed, are the test; none is on both sides. For "will it work on users that
  it has never seen?".
- "given": the test came in files of its own.

Whatever is chosen inside of training (a threshold, parameters) is chosen by a split of the same kind, `inner` and
`folds`; the test rows are for measuring alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Kind = Literal["time", "grouped", "given"]
Fold = tuple[Ints, Ints]

TEST_SHARE = 0.25
FOLDS = 3


class SplitError(ModelError):
    """These rows can't be split as asked."""


@dataclass(frozen=True, slots=True)
class Split:
    """Places of training and test rows, int64[n] each, ascending; `entity` uint64 of all rows, 0 = nobody."""

    kind: Kind
    train: Ints
    test: Ints
    entity: Keys
    share: float = TEST_SHARE
    seed: int = 42

    @property
    def straddling(self) -> int:
        """Entities that have rows on both sides."""
        both = np.intersect1d(self.entity[self.train], self.entity[self.test])
        return int((both != 0).sum())

    def inner(self) -> "Split":
        """The training rows split again, by the same rule: what is fitted, and what a threshold is chosen on."""
        if self.kind == "grouped":
            inside = by_entity(self.entity[self.train], self.share, self.seed)
        else:
            inside = by_time(self.entity[self.train], self.share)
        return replace(inside, train=self.train[inside.train], test=self.train[inside.test], entity=self.entity)

    def folds(self, count: int = FOLDS) -> list[Fold]:
        """Cross-validation within training: (fitted, judged) as places among the training rows.

        By time each fold is judged on what follows what it is fitted on (scikit-learn's `TimeSeriesSplit`); grouped, no
        entity is in both (`GroupKFold`).
        """
        from sklearn.model_selection import GroupKFold, TimeSeriesSplit

        rows = np.zeros((len(self.train), 1))
        groups = _groups(self.entity[self.train]) if self.kind == "grouped" else None
        enough = len(rows) - 1 if groups is None else len(np.unique(groups))
        if enough < count:
            raise SplitError(f"{count} folds need more than the {enough} that there are: fewer folds, or more rows")
        maker = TimeSeriesSplit(count) if groups is None else GroupKFold(count)
        return [
            (fitted.astype(np.int64), judged.astype(np.int64)) for fitted, judged in maker.split(rows, None, groups)
        ]

    def describe(self) -> dict[str, str | int | float]:
        """What a manifest says of it."""
        return {
            "kind": self.kind,
            "training_rows": len(self.train),
            "test_rows": len(self.test),
            "entities_on_both_sides": self.straddling,
            **({"seed": self.seed} if self.kind == "grouped" else {}),
        }


def by_time(entity: Keys, share: float = TEST_SHARE) -> Split:
    """The last `share` of the rows, which are in order of time, are the test.

    >>> split = by_time(np.array([1, 2, 1, 2], np.uint64))
    >>> split.train.tolist(), split.test.tolist(), split.straddling
    ([0, 1, 2], [3], 1)
    """
    held = _held(len(entity), share)
    places = np.arange(len(entity), dtype=np.int64)
    return Split("time", places[:-held], places[-held:], entity, share)


def by_entity(entity: Keys, share: float = TEST_SHARE, seed: int = 42) -> Split:
    """Whole entities, shuffled by `seed`, are the test, until it has `share` of the rows. Nobody's rows go one by one.

    >>> split = by_entity(np.array([7, 8, 7, 8, 9, 9, 7, 8], np.uint64))
    >>> split.straddling, len(split.train) + len(split.test)
    (0, 8)
    """
    held, groups = _held(len(entity), share), _groups(entity)
    sizes = np.bincount(groups)
    if len(sizes) < 2:
        raise SplitError("all rows are of one entity: split them by time")
    order = np.random.default_rng(seed).permutation(len(sizes))
    # The smallest number of entities that has enough rows; one at least is left for training.
    chosen = order[: min(int(np.searchsorted(np.cumsum(sizes[order]), held)) + 1, len(sizes) - 1)]
    is_test = np.isin(groups, chosen)
    return Split("grouped", np.flatnonzero(~is_test), np.flatnonzero(is_test), entity, share, seed)


def given(entity: Keys, training_rows: int) -> Split:
    """The first `training_rows` train, the others were given as the test."""
    if not 0 < training_rows < len(entity):
        raise SplitError("training and test need rows, each of them")
    places = np.arange(len(entity), dtype=np.int64)
    return Split("given", places[:training_rows], places[training_rows:], entity)


def make(kind: Kind, entity: Keys, training_rows: int, share: float, seed: int) -> Split:
    """The split of this kind."""
    if kind == "given":
        return given(entity, training_rows)
    return by_time(entity, share) if kind == "time" else by_entity(entity, share, seed)


def usable(folds: Sequence[Fold], labels: NDArray[np.bool_]) -> list[Fold]:
    """The folds with rows of both kinds to fit on and to judge by."""
    return [fold for fold in folds if all(labels[part].any() and not labels[part].all() for part in fold)]


def _held(rows: int, share: float) -> int:
    held = round(rows * share)
    if not 0 < held < rows:
        raise SplitError(f"a test of {share:.0%} of {rows} rows leaves one side empty")
    return held


def _groups(entity: Keys) -> Ints:
    """Entities as 0, 1, …; each row of nobody is a group of its own."""
    _, groups = np.unique(entity, return_inverse=True)
    groups = groups.astype(np.int64)
    nobody = entity == 0
    groups[nobody] = groups.max(initial=0) + 1 + np.arange(int(nobody.sum()))
    _, groups = np.unique(groups, return_inverse=True)
    return groups.astype(np.int64)
