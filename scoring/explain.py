"""Why a row scored high: the features farthest from what training saw, in units of their usual spread.

On shifted single features this simple measure names the right ones far more often than a forest's paths do; odd
combinations of ordinary values it can't name. Only for rows that people get to see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .prepare import Reference


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature of one event: its value, where 90 % of training lie, its distance from the median in spreads."""

    feature: str
    value: float
    usual_low: float
    usual_high: float
    deviation: float

    def __str__(self) -> str:
        """In words for people.

        >>> str(Reason("g_amplitude", 1.9, 0.1, 0.3, 8.0))
        'g_amplitude 1.9 (usually 0.1 to 0.3)'
        """
        return f"{self.feature} {self.value:.4g} (usually {self.usual_low:.4g} to {self.usual_high:.4g})"


def reasons(
    matrix: NDArray[np.float64], reference: Reference, features: Sequence[str], top: int = 3
) -> list[list[Reason]]:
    """For every row of float64[n, f] (NaN = missing, never a reason) its `top` features, the farthest first.

    Ties go to the feature that stands first, so equal rows have equal reasons.
    """
    deviation = (matrix - reference.median) / reference.spread
    size = np.where(np.isfinite(deviation), np.abs(deviation), -1.0)
    farthest = np.argsort(-size, axis=1, kind="stable")[:, :top]
    low, high = reference.usual_low, reference.usual_high
    return [
        [
            Reason(features[f], float(matrix[row, f]), float(low[f]), float(high[f]), float(deviation[row, f]))
            for f in chosen
            if size[row, f] > 0
        ]
        for row, chosen in enumerate(farthest)
    ]
