"""What a study takes: the rows, and how to train and measure."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .measure import RESAMPLES
from .split import FOLDS
from .train import Options

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]
Ints = NDArray[np.int64]
#: Opens a progress bar: what is done, and how many steps it has; gives a function to call with how many are done.
Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class Examples:
    """All rows, in order: features float64[n, f] (NaN = missing), whose they are and which record, uint64[n] each.

    labels bool[n], True = anomaly, None if unknown.
    """

    stream: str
    features: tuple[str, ...]
    units: tuple[str, ...]
    matrix: Floats
    entity: Keys
    record: Keys
    labels: Bools | None = None

    def labels_of(self, rows: Ints) -> Bools | None:
        """The labels of some rows, if there are any."""
        return None if self.labels is None else self.labels[rows]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train and measure.

    forest: with labels a random forest, or an isolation forest that doesn't look at them. search: so many candidates, 0
    for none. allow: overridden refusals. final: what the kept model learns, all rows or the training rows. compare:
    measure baselines, too.
    """

    options: Options = field(default_factory=Options)
    forest: Literal["isolation", "random"] = "random"
    search: int = 0
    folds: int = FOLDS
    allow: frozenset[str] = frozenset()
    final: Literal["all", "train"] = "all"
    compare: bool = False
    resamples: int = RESAMPLES


@contextmanager
def silent(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress that nobody sees."""
    yield lambda done: None
