"""A classifier's votes → a probability, as labels calibrated it.

Votes are counted: of the events with 0.8 it isn't 80 % that are anomalies. What share it is, labels say, and two ways
of asking them are here: isotonic regression (Zadrozny & Elkan 2002), a rising curve through knots, and for few labels
Platt's (1999), a logistic curve in the votes' log-odds. Fitting takes scikit-learn; applying takes numpy.

A probability holds where anomalies are as frequent as they were among the labelled events. Where they are rarer, it is
too high: calibrate on events as they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Method = Literal["isotonic", "platt"]

# Of each kind. A free curve needs some 50 labels not to follow each one; two numbers can be had from 20.
ISOTONIC_LABELS, FEWEST_LABELS = 50, 20
# Isotonic regression gives at most two knots a distinct score; a hundred trees have a few thousand.
MOST_KNOTS = 100_000
# A hundred trees can't tell 1 in 1,000 from 0: log-odds end there.
SMALLEST_SHARE = 1e-3
# Beyond these a logistic curve is a step, and a number in a file is no fit.
MOST_SLOPE, MOST_OFFSET = 1e3, 1e4

BINS = 10
RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Probability:
    """A curve from votes in [0, 1] to a probability, never falling.

    Isotonic: knots x, y float64[k], straight lines between them, level beyond. Platt: x, y empty, and slope and offset
    of p = 1 / (1 + exp(-(slope * log-odds + offset))).

    >>> votes, labels = np.linspace(0, 1, 400), np.arange(400) >= 300
    >>> Probability.fit(votes, labels, "isotonic").apply(np.array([0.1, 0.9])).round(2).tolist()
    [0.0, 0.99]
    """

    x: Floats
    y: Floats
    slope: float = 0.0
    offset: float = 0.0

    @property
    def method(self) -> Method:
        """Which kind of curve it is."""
        return "isotonic" if len(self.x) else "platt"

    @classmethod
    def fit(cls, scores: Floats, labels: Bools, method: Method = "isotonic") -> "Probability":
        """From votes float64[n] of events that the forest has *not* seen, and labels bool[n] (True = anomaly).

        No probability is surer than so many labels allow: 1 / (n + 2) of a kind is Platt's own bound, and isotonic
        regression, which would say 0 and 1, is clipped to it. Raises `ModelError` below 20 labels of a kind, or where
        higher votes don't mean more anomalies.
        """
        scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.bool_)
        if labels.shape != scores.shape or scores.ndim != 1 or not ((scores >= 0) & (scores <= 1)).all():
            raise ModelError("takes votes from 0 to 1 and one label each", where="probability")
        anomalies, ordinary = int(labels.sum()), int((~labels).sum())
        if min(anomalies, ordinary) < FEWEST_LABELS:
            problem = f"{anomalies} anomalies and {ordinary} ordinary events; {FEWEST_LABELS} of each are needed"
            raise ModelError(problem, where="probability")
        low, high = 1 / (ordinary + 2), (anomalies + 1) / (anomalies + 2)
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

            curve = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True).fit(scores, labels)
            return cls(np.asarray(curve.X_thresholds_), np.clip(curve.y_thresholds_, low, high))
        from sklearn.linear_model import LogisticRegression

        # Platt's targets, `high` and `low` instead of 1 and 0, as weights of both outcomes.
        wanted = np.where(labels, high, low)
        odds = np.tile(_log_odds(scores), 2)[:, np.newaxis]
        outcomes, weights = np.repeat([True, False], len(scores)), np.concatenate([wanted, 1 - wanted])
        line = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000).fit(odds, outcomes, sample_weight=weights)
        slope, offset = float(line.coef_[0, 0]), float(line.intercept_[0])
        if not slope > 0:
            raise ModelError("higher votes don't mean more anomalies: the labels say nothing", where="probability")
        return cls(np.zeros(0), np.zeros(0), min(slope, MOST_SLOPE), float(np.clip(offset, -MOST_OFFSET, MOST_OFFSET)))

    def apply(self, scores: Floats) -> Floats:
        """Probabilities float64[n] of votes float64[n]; NaN stays NaN."""
        if self.method == "isotonic":
            return np.asarray(np.interp(scores, self.x, self.y), np.float64)
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * _log_odds(scores) + self.offset, -700, 700))))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The curve by name."""
        if self.method == "isotonic":
            return {"x": self.x, "y": self.y}
        return {"platt": np.array([self.slope, self.offset])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Probability":
        """Checked: float64, rising x and never falling y in [0, 1]; or two bounded numbers. Raises `ModelError`."""
        if any(array.dtype != np.float64 or array.ndim != 1 for array in arrays.values()):
            raise ModelError("the arrays must be float64[n]", where="probability")
        if set(arrays) == {"platt"}:
            platt = arrays["platt"]
            if platt.shape != (2,) or not (0 < platt[0] <= MOST_SLOPE and abs(platt[1]) <= MOST_OFFSET):
                raise ModelError("platt must be a positive slope and an offset, both bounded", where="probability")
            return cls(np.zeros(0), np.zeros(0), float(platt[0]), float(platt[1]))
        if set(arrays) != {"x", "y"}:
            raise ModelError(f"has {sorted(arrays)}, expected x and y, or platt", where="probability")
        x, y = arrays["x"], arrays["y"]
        if len(x) != len(y) or not 1 <= len(x) <= MOST_KNOTS:
            raise ModelError(f"x and y must be of one length, 1 to {MOST_KNOTS}", where="probability")
        inside = all(((one >= 0) & (one <= 1)).all() for one in (x, y))  # refuses NaN, too
        if not inside or not (np.diff(x) > 0).all() or not (np.diff(y) >= 0).all():
            raise ModelError("x must rise and y must not fall, both within 0 to 1", where="probability")
        return cls(x, y)


def calibrate(scores: Floats, labels: Bools, seed: int) -> tuple[Probability | None, dict[str, Any]]:
    """The curve from votes on unseen rows, in order of time, and what goes into a model's metrics.

    Isotonic from 50 anomalies on, Platt's from 20 on, below that None, and the metrics say why. The figures are those
    of a curve from the first two thirds of the rows, measured on the last third, which neither it nor the voting trees
    have seen; the curve that is returned is from all.
    """
    labels = np.asarray(labels, np.bool_)
    method: Method = "isotonic" if min(labels.sum(), (~labels).sum()) >= ISOTONIC_LABELS else "platt"
    try:
        curve = Probability.fit(scores, labels, method)
    except ModelError as error:
        return None, {"calibration": f"none: {error.problem}"}
    figures: dict[str, Any] = {"calibration": method}
    cut = len(scores) * 2 // 3
    later = labels[cut:]
    try:
        probability = Probability.fit(scores[:cut], labels[:cut], method).apply(scores[cut:])
    except ModelError as error:
        return curve, figures | {"calibration_measured": f"no: in the first two thirds {error.problem}"}
    return curve, figures | {
        "calibration_rows": len(later),
        "calibration_anomalies": int(later.sum()),
        **judged("calibrated", probability, later, seed),
        **judged("votes", scores[cut:], later, seed),
        "base_rate_brier": round(float(brier(np.full(len(later), labels[:cut].mean()), later)), 6),
    }


def judged(name: str, probability: Floats, labels: Bools, seed: int) -> dict[str, Any]:
    """`<name>_brier` and `<name>_ece`, and 95 % intervals of both from 400 resamples of the rows."""
    rng = np.random.default_rng(seed)
    bins = _bins(probability)
    resampled = [rng.integers(0, len(labels), len(labels)) for _ in range(RESAMPLES)]
    loss = np.square(probability - labels)
    briers = [loss[rows].mean() for rows in resampled]
    errors = [_ece(bins[rows], probability[rows], labels[rows]) for rows in resampled]
    return {
        f"{name}_brier": round(brier(probability, labels), 6),
        f"{name}_brier_interval": [round(float(q), 6) for q in np.quantile(briers, [0.025, 0.975])],
        f"{name}_ece": round(expected_calibration_error(probability, labels), 6),
        f"{name}_ece_interval": [round(float(q), 6) for q in np.quantile(errors, [0.025, 0.975])],
    }


def brier(probability: Floats, labels: Bools, weights: Floats | None = None) -> float:
    """Mean squared difference from what happened, 0 or 1 (Brier 1950); lower is better. Rows count `weights` times.

    >>> brier(np.array([0.9, 0.2]), np.array([True, False]))
    0.025
    """
    return round(float(np.average(np.square(probability - labels), weights=weights)), 12)


def expected_calibration_error(probability: Floats, labels: Bools, weights: Floats | None = None) -> float:
    """Mean over events of |their bin's mean probability - its share of anomalies|, in ten bins of equal mass.

    Bin edges are deciles of the probabilities (Nguyen & O'Connor 2015), and equal probabilities share a bin: so there
    may be fewer. Few labels make it too high, as chance differences don't cancel.

    >>> expected_calibration_error(np.array([0.1] * 10 + [0.5] * 10), np.arange(20) >= 15)
    0.05
    """
    return round(_ece(_bins(probability), probability, labels, weights), 12)


def _bins(probability: Floats) -> NDArray[np.int64]:
    edges = np.unique(np.quantile(probability, np.arange(1, BINS) / BINS))
    return np.asarray(np.searchsorted(edges, probability, side="right"), np.int64)


def _ece(bins: NDArray[np.int64], probability: Floats, labels: Bools, weights: Floats | None = None) -> float:
    counted = np.ones(len(labels)) if weights is None else weights
    return float(np.abs(np.bincount(bins, counted * (probability - labels))).sum() / counted.sum())


def _log_odds(scores: Floats) -> Floats:
    share = np.clip(scores, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    return np.asarray(np.log(share / (1 - share)), np.float64)
