"""Random search for a forest's parameters, judged within training by folds that keep time, or entities, apart.

`RandomizedSearchCV` (Bergstra & Bengio 2012) with average precision: the figure that tells candidates apart where
anomalies are rare. What stands in for missing values is fitted anew in every fold.

An isolation forest learns without labels, but what is *better* can't be said without any: without labels the search is
refused. Its `contamination` is searched for the sake of the reference systems that do: it moves scikit-learn's own
offset and thereby the threshold of `predict`, no score and no rank, and nothing of it reaches the bundle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import Pipeline

from .errors import ModelError
from .prepare import Reference
from .split import Fold, usable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ForestKind = Literal["isolation", "random"]
Value = int | float | str | None

SCORING = "average precision, mean over the folds"
TREES = (100, 500)
# A bundle's arrays have a limit of 512 MiB; 500 trees of 4,096 rows are 4 million nodes, some 60 MB.
MOST_SAMPLES = 4_096
PAPER_SAMPLES = 256  # Liu, Ting & Zhou 2008
_FOREST = "forest__"


class NothingToChooseBy(ModelError):
    """A search has no labels to judge candidates by."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, where="search")


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate: its parameters, and the mean and standard deviation of its score over the folds."""

    parameters: Mapping[str, Value]
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the best parameters by scikit-learn's names, and all trials, best first."""

    parameters: Mapping[str, Value]
    trials: tuple[Trial, ...]
    folds: int


class Filler(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """`Reference` as a step of a pipeline: medians and bounds of the rows it is fitted on."""

    def fit(self, rows: Floats, labels: object = None) -> "Filler":
        """From rows float64[n, f], NaN = missing."""
        self.reference_ = Reference.fit(rows)
        return self

    def transform(self, rows: Floats) -> Floats:
        """Rows without gaps."""
        return self.reference_.fill(rows)[0]


def space(kind: ForestKind, rows: int, trees: tuple[int, int] = TREES) -> dict[str, list[Value]]:
    """What is searched; `rows` are those of the smallest fold.

    Random forest: size and shape of the trees. No class weights: they bend shares of votes, which `probability` is
    there to correct, and draw rare rows into every tree's bootstrap, so that none is left to score them out of bag.
    Isolation forest: 100 to 500 trees; 256 rows a tree, or 10 to 100 % of the fold's (4,096 at most); half of the
    features or more; contamination.

    >>> space("isolation", 1_000)["max_samples"]
    [100, 200, 256, 300, 400, 500, 600, 700, 800, 900, 1000]
    """
    count: list[Value] = list(range(trees[0], trees[1] + 1, max(1, (trees[1] - trees[0]) // 8)))
    if kind == "isolation":
        shares = {min(rows * tenths // 10, MOST_SAMPLES) for tenths in range(1, 11)}
        return {
            "n_estimators": count,
            "max_samples": list[Value](sorted(shares | {min(PAPER_SAMPLES, rows)})),
            "max_features": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
            "contamination": [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25],
        }
    return {
        "n_estimators": count,
        "max_depth": [None, 5, 8, 10, 15, 20],
        "min_samples_split": [2, 5, 10, 20],
        "min_samples_leaf": [1, 2, 3, 5, 10],
        "max_features": ["sqrt", "log2", 0.3, 0.5, 0.8],
    }


def search(
    kind: ForestKind,
    matrix: Floats,
    labels: Bools | None,
    folds: Sequence[Fold],
    iterations: int,
    seed: int,
    done: Callable[[int], None] | None = None,
    trees: tuple[int, int] = TREES,
) -> Found:
    """The best of `iterations` random candidates on training rows float64[n, f], NaN = missing, with labels bool[n].

    Folds without both kinds of rows on both sides judge nothing and are left out. `done` is told how many fits are
    done. One process and a fixed seed: the same rows give the same answer. Raises `NothingToChooseBy`.
    """
    if labels is None:
        raise NothingToChooseBy(
            "without labels no setting of a forest can be called better than another; give --labels "
            "(injected anomalies will do: `skim simulate … --truth`), or leave --search out"
        )
    judged = usable(folds, labels)
    if not judged:
        raise NothingToChooseBy("no fold has anomalies and ordinary rows on both sides: more labels, or fewer folds")
    choices = space(kind, min(len(fitted) for fitted, _ in judged), trees)
    fits = 0

    def score(pipeline: Any, rows: Floats, truth: Bools) -> float:
        nonlocal fits
        fits += 1
        if done is not None:
            done(fits)
        scores = -pipeline.score_samples(rows) if kind == "isolation" else pipeline.predict_proba(rows)[:, 1]
        return float(average_precision_score(truth, scores))

    forest = (
        IsolationForest(random_state=seed, n_jobs=1)
        if kind == "isolation"
        else RandomForestClassifier(random_state=seed, n_jobs=1)
    )
    finder = RandomizedSearchCV(
        Pipeline([("fill", Filler()), ("forest", forest)]),
        {_FOREST + name: values for name, values in choices.items()},
        n_iter=iterations,
        scoring=score,
        cv=judged,
        n_jobs=1,
        refit=False,
        random_state=seed,
        error_score="raise",
    ).fit(matrix, labels)
    results = finder.cv_results_
    trials = [
        Trial({name.removeprefix(_FOREST): value for name, value in chosen.items()}, float(mean), float(deviation))
        for chosen, mean, deviation in zip(
            results["params"], results["mean_test_score"], results["std_test_score"], strict=True
        )
    ]
    best = sorted(trials, key=lambda trial: -trial.mean)  # stable: of equals the first drawn
    return Found(best[0].parameters, tuple(best), len(judged))
