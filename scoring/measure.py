"""How well scores tell anomalies from the rest: curves, rates at a threshold, and bootstrap intervals.

Every figure takes row weights, so that a bootstrap resample is a vector of counts and nothing is sorted twice.
Higher scores are more anomalous; what is *above* a threshold is called an anomaly, as `Predictor` does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles: 95 %
BINS = 10

#: The figures of one detector at one threshold, in the order of `Judge.figures`.
FIGURES = ("precision", "recall", "f1", "roc_auc", "average_precision", "false_positive_rate", "accuracy")


class Confusion(NamedTuple):
    """Counts (or sums of weights) at a threshold."""

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float

    @property
    def precision(self) -> float:
        """Alarms that are right; NaN without alarms."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Anomalies that are found."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without alarms."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float:
        """Ordinary events that are called anomalies."""
        return _ratio(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def accuracy(self) -> float:
        """Means little where anomalies are rare: look at what all-normal has."""
        return _ratio(self.true_positives + self.true_negatives, sum(self))


@dataclass(frozen=True, slots=True)
class Curve:
    """What lies at or above each distinct score, from the highest down: float64[k] each."""

    scores: Floats
    true_positives: Floats
    false_positives: Floats

    @property
    def roc_auc(self) -> float:
        """Area under the ROC curve, ties counted half; NaN if there is one kind of rows only."""
        positives, negatives = self.true_positives[-1], self.false_positives[-1]
        before = np.concatenate([[0.0], self.true_positives[:-1]])
        area = np.sum(np.diff(self.false_positives, prepend=0.0) * (before + self.true_positives) / 2)
        return _ratio(float(area), float(positives * negatives))

    @property
    def average_precision(self) -> float:
        """Precision at each step of recall, summed, without interpolation (as scikit-learn has it)."""
        every = self.true_positives + self.false_positives
        precision = np.divide(self.true_positives, every, out=np.zeros_like(every), where=every > 0)
        gained = np.diff(self.true_positives, prepend=0.0)
        return _ratio(float(np.sum(gained * precision)), float(self.true_positives[-1]))


class Judge:
    """Labels bool[n] and scores float64[n], sorted once.

    >>> judge = Judge(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0.1]))
    >>> judge.curve().roc_auc, judge.confusion(0.85).recall
    (0.875, 0.5)
    """

    def __init__(self, labels: Bools, scores: Floats) -> None:
        if labels.shape != scores.shape or labels.ndim != 1 or not len(labels) or np.isnan(scores).any():
            raise ModelError("labels and scores must be one a row, and scores no NaN")
        self.labels, self.scores = labels, scores
        self._order = np.argsort(-scores, kind="stable")
        self._sorted = scores[self._order]
        self._positive = labels[self._order].astype(np.float64)
        self._ends = np.append(np.flatnonzero(self._sorted[1:] != self._sorted[:-1]), len(scores) - 1)

    def curve(self, weights: Floats | None = None) -> Curve:
        """The curve, each row counted `weights` times."""
        weight = np.ones(len(self.labels)) if weights is None else weights[self._order]
        found = np.cumsum(weight * self._positive)[self._ends]
        return Curve(self._sorted[self._ends], found, np.cumsum(weight)[self._ends] - found)

    def confusion(self, threshold: float, weights: Floats | None = None) -> Confusion:
        """What happens if everything above `threshold` is called an anomaly."""
        weight = np.ones(len(self.labels)) if weights is None else weights
        alarm = self.scores > threshold
        sums = (weight[alarm == a] @ (self.labels[alarm == a] == y) for y, a in ((1, 1), (0, 1), (1, 0), (0, 0)))
        return Confusion(*(float(one) for one in sums))

    def figures(self, threshold: float, weights: Floats | None = None) -> Floats:
        """`FIGURES`, float64[7]."""
        curve, at = self.curve(weights), self.confusion(threshold, weights)
        return np.array(
            [
                at.precision,
                at.recall,
                at.f1,
                curve.roc_auc,
                curve.average_precision,
                at.false_positive_rate,
                at.accuracy,
            ]
        )

    def best_threshold(self) -> float:
        """Where F1 is best: half-way to the next lower score; of several, the highest. Never for test rows."""
        curve = self.curve()
        alarms = curve.true_positives + curve.false_positives
        f1 = 2 * curve.true_positives / (alarms + curve.true_positives[-1])
        best = int(np.argmax(f1))
        below = curve.scores[best + 1] if best + 1 < len(curve.scores) else curve.scores[best] - 1.0
        return float((curve.scores[best] + below) / 2)


def bootstrap(
    statistic: Callable[[Floats], Floats], groups: Ints, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Floats, Floats]:
    """95 % intervals (low, high) of `statistic(weights)`, from resampling whole groups with replacement.

    groups int64[n], 0 to g - 1: rows of one user or object are alike, so they are drawn together. A resample in which
    a figure doesn't exist (no anomaly was drawn) is left out for that figure.
    """
    rng, count = np.random.default_rng(seed), int(groups.max()) + 1
    drawn = [
        statistic(np.bincount(rng.integers(0, count, count), minlength=count)[groups].astype(np.float64))
        for _ in range(resamples)
    ]
    table = np.array(drawn)
    low, high = np.full(table.shape[1], np.nan), np.full(table.shape[1], np.nan)
    for column, values in enumerate(table.T):
        known = values[np.isfinite(values)]
        if len(known):
            low[column], high[column] = np.percentile(known, INTERVAL)
    return low, high


def groups_of(entity: NDArray[np.uint64]) -> Ints:
    """Rows by entity, as 0 to g - 1; rows of nobody (0) are one each.

    >>> groups_of(np.array([9, 0, 9, 0], np.uint64)).tolist()
    [0, 1, 0, 2]
    """
    places = np.arange(len(entity), dtype=np.int64)
    _, first, inverse = np.unique(entity, return_index=True, return_inverse=True)
    own = np.where(entity == 0, places, first[inverse])
    return np.unique(own, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True)
class Reliability:
    """A calibration curve, float64[b] each: the bins' mean prediction, share of anomalies, interval, and rows."""

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    rows: Floats

    @classmethod
    def of(cls, labels: Bools, probability: Floats, groups: Ints, resamples: int = RESAMPLES) -> "Reliability":
        """Ten bins of equal width over [0, 1]; those without rows are left out."""
        bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
        filled, bins = np.unique(bins, return_inverse=True)

        def shares(weights: Floats) -> Floats:
            every = np.bincount(bins, weights, len(filled))
            hits = np.bincount(bins, weights * labels, len(filled))
            return np.asarray(np.divide(hits, every, out=np.full(len(filled), np.nan), where=every > 0))

        rows = np.bincount(bins, minlength=len(filled)).astype(np.float64)
        low, high = bootstrap(shares, groups, resamples)
        return cls(np.bincount(bins, probability) / rows, shares(np.ones(len(labels))), low, high, rows)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
