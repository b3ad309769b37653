"""Measuring on rows held back: the model, its parts and baselines, each at a threshold chosen on validation rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .baselines import BASELINES
from .measure import FIGURES, Confusion, Judge, bootstrap, groups_of
from .model import Model
from .recipe import Examples, Progress, Recipe
from .split import Split

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Without labels, and where validation has no anomaly, the threshold is the value above which 1 % of validation lies.
ALARM_SHARE = 0.01
NOMINAL = (0.99, 0.999)
FOREST, DETECTOR = "this model: its forest", "this model: all its parts"


@dataclass(frozen=True, slots=True)
class Contender:
    """One detector on the test: `FIGURES` with their 95 % intervals, float64[7] each, at its own threshold."""

    name: str
    detail: str
    scores: Floats
    threshold: float
    chosen: str
    confusion: Confusion
    figures: Floats
    low: Floats
    high: Floats

    def as_json(self) -> dict[str, Any]:
        """Figure → [value, low, high]; null where it doesn't exist."""
        rows = zip(FIGURES, self.figures, self.low, self.high, strict=True)
        return {name: [number(one) for one in values] for name, *values in rows}


@dataclass(frozen=True, slots=True)
class Measured:
    """What the test said.

    contenders: empty without labels; then `alarms`, (nominal, realised) shares above the score, alone tell something.
    votes, probability: of a classifier, the latter if it is calibrated. new_entities: test rows of those that training
    doesn't have, and the model's AUC on them.
    """

    split: Split
    labels: Bools | None
    groups: Ints
    decides_on: str
    score: Floats
    votes: Floats | None
    probability: Floats | None
    contenders: tuple[Contender, ...]
    alarms: tuple[tuple[float, float], ...]
    new_entities: tuple[int, float]

    @property
    def main(self) -> Contender | None:
        """The model itself, by what `Predictor` decides on."""
        wanted = FOREST if self.decides_on == "anomaly_probability" else DETECTOR
        return next((one for one in self.contenders if one.name == wanted), None)


@dataclass(frozen=True, slots=True)
class _Jury:
    """The truth of the validation and the test rows, bool[n] each, and which test rows are drawn together."""

    validated: Bools
    labels: Bools
    groups: Ints
    resamples: int

    def hear(self, name: str, detail: str, validation: Floats, test: Floats) -> Contender:
        """Threshold from the scores of validation rows, figures from those of the test."""
        if validation.min() == validation.max():
            threshold, chosen = float("inf"), "no alarms"
        elif self.validated.any():
            threshold, chosen = Judge(self.validated, validation).best_threshold(), "best F1 on validation rows"
        else:
            threshold = float(np.quantile(validation, 1 - ALARM_SHARE))
            chosen = f"{ALARM_SHARE:.0%} of validation rows above it (no anomaly among them)"
        judge = Judge(self.labels, test)
        low, high = bootstrap(lambda weights: judge.figures(threshold, weights), self.groups, self.resamples)
        figures = judge.figures(threshold)
        return Contender(name, detail, test, threshold, chosen, judge.confusion(threshold), figures, low, high)


def measure(
    examples: Examples, split: Split, recipe: Recipe, trained: Callable[[Ints], Model], progress: Progress
) -> tuple[Model, Measured]:
    """The model of the training rows, and what the test says of it. trained: rows int64[n] → a model of them."""
    inner, labels = split.inner(), examples.labels_of(split.test)
    compared = BASELINES if recipe.compare and labels is not None else {}
    with progress("measuring", 2 + len(compared)) as done:
        first = trained(inner.train).ensemble().score_learn(examples.matrix[inner.test])
        done(1)
        model = trained(split.train)
        scores = model.ensemble().score_learn(examples.matrix[split.test])
        done(2)
        classifier, groups = model.forest.kind == "classifier", groups_of(examples.entity[split.test])
        contenders: list[Contender] = []
        if examples.labels is not None and labels is not None:
            jury = _Jury(examples.labels[inner.test], labels, groups, recipe.resamples)
            forest = "share of votes" if classifier else f"{model.forest.n_trees} trees, no labels"
            contenders = [
                jury.hear(FOREST, forest, _silenced(first.raw[:, 0]), _silenced(scores.raw[:, 0])),
                jury.hear(DETECTOR, "the board's score", _silenced(first.score), _silenced(scores.score)),
            ]
            for step, (name, fit) in enumerate(compared.items(), 3):
                one, both = (
                    fit(examples.features, examples.matrix[rows], examples.labels[rows], recipe.options.seed)
                    for rows in (inner.train, split.train)
                )
                validation, test = one.scores(examples.matrix[inner.test]), both.scores(examples.matrix[split.test])
                contenders.append(jury.hear(name, both.detail, validation, test))
                done(step)
    votes = scores.raw[:, 0] if classifier else None
    measured = Measured(
        split=split,
        labels=labels,
        groups=groups,
        decides_on="anomaly_probability" if classifier else "score",
        score=_silenced(scores.score),
        votes=votes,
        probability=_probability(getattr(model, "probability", None), votes),
        contenders=tuple(contenders),
        alarms=tuple((1 - at, float((scores.score > at).mean())) for at in NOMINAL),
        new_entities=(0, float("nan")),
    )
    return model, replace(measured, new_entities=_new_entities(examples, split, measured))


def _silenced(scores: Floats) -> Floats:
    """A part that doesn't speak yet raises no alarm."""
    return np.nan_to_num(scores, nan=0.0)


def _probability(calibrated: Any, votes: Floats | None) -> Floats | None:
    """The calibrated probability of votes, of a model that has one."""
    if calibrated is None or votes is None:
        return None
    return np.asarray(calibrated.apply(votes), np.float64)


def _new_entities(examples: Examples, split: Split, measured: Measured) -> tuple[int, float]:
    """Test rows of entities that training doesn't have, and the model's AUC on them (NaN if it can't be said)."""
    new = ~np.isin(examples.entity[split.test], examples.entity[split.train]) | (examples.entity[split.test] == 0)
    main = measured.main
    if main is None or measured.labels is None or not new.any():
        return int(new.sum()), float("nan")
    return int(new.sum()), Judge(measured.labels[new], main.scores[new]).curve().roc_auc


def number(value: float) -> float | None:
    """For JSON: six decimals; None where it doesn't exist."""
    return round(float(value), 6) if np.isfinite(value) else None
