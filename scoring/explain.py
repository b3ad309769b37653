"""Why an event scored high: its features by weight, each with its place in training and what it added to each part.

What a part says of a feature is its signed share of all that the part says of the event (sizes add up to 1, positive =
towards anomaly); so parts with scales of their own can stand side by side. Paths through trees find odd combinations
of ordinary values, and blur single odd values over their neighbours; a percentile sees single values alone. A feature's
weight is its rarity (half of it where no part blames it) plus half of what the parts say, each relative
to the most of any feature: benchmarks/explain.py compares this with other rules. Broken rules come first, missing
values never.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .prepare import Reference
from .rules import broken, broken_in_words, rule_columns
from .words import placed, quantity

Floats = NDArray[np.float64]

# Of 0.5, 0.67 and 1, the best on the seeds on which rules were compared.
PARTS_WEIGHT = 0.5
# A rare value that no part holds against the event may be a stream that has drifted from its training. On the made-up
# populations, which don't drift, this costs 0.01 to 0.03 of hit@3.
UNACCUSED = 0.5
# Above any sum of the others.
BROKEN_WEIGHT = 10.0
TOP = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature of one event: its value, its place among the `rows` of training, where 90 % of them lie, its distance
    from the median in spreads, and its signed share of what each part says (None: the part is silent).

    `percentile` is None for a feature that training never saw. `noun` says what a row of training is.
    """

    feature: str
    unit: str
    value: float
    percentile: float | None
    usual_low: float
    usual_high: float
    deviation: float
    contributions: Mapping[str, float | None]
    rows: int
    noun: str

    def __str__(self) -> str:
        """In words for people.

        >>> str(Reason("g_amplitude", "mag", 1.9, 0.998, 0.1, 0.3, 8.0, {"frozen": 0.4}, 5_000, "objects"))
        'g_amplitude 1.9 mag: above 99.8 % of objects'
        """
        if broken(self.feature, self.value):
            return f"{self.feature}: {broken_in_words(self.feature)}"
        return f"{self.feature} {quantity(self.value, self.unit)}: {placed(self.percentile, self.rows, self.noun)}"

    def to_json(self) -> dict[str, Any]:
        """As the board has it."""
        return {
            "feature": self.feature,
            "value": self.value,
            "unit": self.unit,
            "percentile": self.percentile,
            "usual": [self.usual_low, self.usual_high],
            "deviation": self.deviation,
            "contributions": dict(self.contributions),
            "words": str(self),
        }


class Explanations:
    """Those of k rows float64[k, f] (NaN = missing), whose `contributions` float64[k, f] by part are the ensemble's.

    Each row's is its own: rows beside it change nothing.
    """

    def __init__(
        self,
        rows: Floats,
        reference: Reference,
        features: Sequence[str],
        units: Sequence[str],
        noun: str = "events",
        contributions: Mapping[str, Floats] | None = None,
    ) -> None:
        self.reference, self.noun = reference, noun
        parts = contributions or {}
        percentile, rarity = reference.places(rows)
        shares, weight = weigh(rarity, np.array([*parts.values()]).reshape(len(parts), *rows.shape))
        rules = rule_columns(features)
        weight[:, rules] += BROKEN_WEIGHT * (rows[:, rules] > 0)
        there = np.isfinite(rows)
        weight[~there] = -np.inf
        order = np.argsort(-weight, axis=1, kind="stable")  # ties: the feature that stands first

        each = np.arange(len(rows))[:, np.newaxis]

        def column(values: Floats, digits: int) -> list[list[float | None]]:
            return _numbers(values[each, order], digits)

        # By row, the weightiest first; reasons and tables are slices of these.
        self._order: list[list[int]] = order.tolist()
        self._feature, self._unit, self._seen = (
            np.array(column, object)[order].tolist() for column in (features, units, reference.rows.astype(np.int64))
        )
        self._there: list[int] = there.sum(axis=1).tolist()
        self._speaking: list[int] = (weight > 0).sum(axis=1).tolist()
        self._value = rows[each, order].tolist()
        self._percentile = column(percentile, 6)
        self._deviation = column(reference.deviation(rows), 3)
        self._shares = {part: column(share, 4) for part, share in zip(parts, shares, strict=True)}

    def reasons(self, row: int, top: int = TOP) -> list[Reason]:
        """The `top` features that speak for an anomaly, the weightiest first."""
        low, high = self.reference.usual_low, self.reference.usual_high
        return [
            Reason(
                self._feature[row][place],
                self._unit[row][place],
                self._value[row][place],
                self._percentile[row][place],
                float(low[f]),
                float(high[f]),
                cast(float, self._deviation[row][place]),
                {part: share[row][place] for part, share in self._shares.items()},
                self._seen[row][place],
                self.noun,
            )
            for place, f in enumerate(self._order[row][: min(top, self._speaking[row])])
        ]

    def table(self, row: int) -> dict[str, Any]:
        """All features that are there as columns, the weightiest first: for JSON, so None for NaN, and rounded."""
        n = self._there[row]
        return {
            "feature": self._feature[row][:n],
            "unit": self._unit[row][:n],
            "percentile": self._percentile[row][:n],
            "rows": self._seen[row][:n],
            "deviation": self._deviation[row][:n],
            "contributions": {part: share[row][:n] for part, share in self._shares.items()},
        }


def weigh(rarity: Floats, contributions: Floats) -> tuple[Floats, Floats]:
    """Shares float64[p, k, f] of contributions of that shape, and weights float64[k, f], at most 1.5, from rarity too.

    A share is a contribution over the sum of all sizes of its part and row (0 if all are 0, NaN if the part is silent).
    A weight is the rarity, and half the mean of the speaking parts' shares, each relative to the row's largest; the
    rarity counts half where no part that speaks has a positive share.

    >>> shares, weights = weigh(np.array([[2.0, 1.0, 0.0]]), np.array([[[0.0, 3.0, -1.0]]]))
    >>> shares.tolist(), weights.tolist()
    ([[[0.0, 0.75, -0.25]]], [[0.5, 1.0, -0.16666666666666666]])
    """
    shares, weights = np.empty(contributions.shape), np.empty(rarity.shape)
    _weigh(rarity, contributions, shares, weights)
    return shares, weights


@njit(cache=True, nogil=True)
def _weigh(rarity, contributions, shares, weights):  # type: ignore[no-untyped-def]
    parts, rows, features = contributions.shape
    for row in range(rows):
        said, speaking, accused = np.zeros(features), 0, np.zeros(features, np.bool_)
        for part in range(parts):
            size = 0.0
            for f in range(features):
                size += abs(contributions[part, row, f])
            silent = np.isnan(size)
            speaking += not silent
            for f in range(features):
                share = contributions[part, row, f] / size if size > 0 else 0.0
                shares[part, row, f] = np.nan if silent else share
                said[f] += 0.0 if silent else share
                accused[f] |= share > 0
        rarest = most = 0.0
        for f in range(features):
            said[f] /= max(speaking, 1)
            most = max(most, said[f])
            if rarity[row, f] > rarest:  # not if it is NaN
                rarest = rarity[row, f]
        for f in range(features):
            rare = 0.0 if np.isnan(rarity[row, f]) or rarest == 0.0 else rarity[row, f] / rarest
            if speaking > 0 and not accused[f]:
                rare *= UNACCUSED
            weights[row, f] = rare + PARTS_WEIGHT * (said[f] / most if most > 0.0 else said[f])


def _numbers(values: Floats, digits: int) -> list[list[float | None]]:
    found = np.round(values, digits) + 0.0  # no -0.0
    unknown = np.isnan(found)
    if unknown.any():
        found = np.where(unknown, None, found)  # type: ignore[call-overload]
    return cast("list[list[float | None]]", found.tolist())
