"""A threshold on the combined value that follows the stream: so many alarms in the long run, whatever drifts.

Robbins & Monro's stochastic approximation of a quantile (1951), with a step that doesn't shrink, as the stream never
settles. The long-run rate is right for any bounded sequence, exchangeable or not (Gibbs & Candès 2021). The price: in
an incident every alarm raises the bar for the next. Broken rules (`rules.py`) are outside of it: always an alarm, and
they raise no bar.
"""

from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .combine import CAP
from .errors import ModelError

Floats = NDArray[np.float64]

# The step in units of the distance from median to 99 % point.
STEP = 0.5
FEWEST = 100


class Threshold:
    """Alarms at a nominal `rate`; `level` is the bar now, `step` how far an alarm moves it."""

    def __init__(self, rate: float, level: float, step: float) -> None:
        if not (0 < rate < 1 and np.isfinite(level) and 0 < step < np.inf):
            raise ModelError(f"needs 0 < rate < 1, a finite level, step > 0; not {rate}, {level}, {step}")
        self.rate = rate
        self.level = level
        self.step = step

    @classmethod
    def fit(cls, combined: Floats, rate: float) -> Self:
        """From combined values float64[n] of a warm-up, at least 100; those of broken rules and NaN are left out."""
        values = combined[combined <= CAP]
        if len(values) < FEWEST:
            raise ModelError(f"{len(values)} values; a threshold needs {FEWEST} to begin with")
        level, middle, high = np.quantile(values, [1 - rate, 0.5, 0.99]).tolist()
        return cls(rate, level, STEP * (high - middle + 1e-9))

    def alarms(self, combined: Floats) -> NDArray[np.bool_]:
        """bool[n], each judged before it moves the bar, in order; NaN is no alarm and moves nothing.

        >>> threshold = Threshold(rate=0.1, level=2.0, step=1.0)
        >>> threshold.alarms(np.array([2.5, 2.5, 9.0, np.nan])).tolist(), round(threshold.level, 6)
        ([True, False, True, False], 2.8)
        """
        found = np.zeros(len(combined), np.bool_)
        self.level = float(_alarms(np.ascontiguousarray(combined), self.rate, self.level, self.step, found))
        return found


@njit(cache=True, nogil=True)
def _alarms(combined, rate, level, step, found):  # type: ignore[no-untyped-def]
    for i in range(len(combined)):
        if combined[i] > CAP:
            found[i] = True
        elif not np.isnan(combined[i]):
            found[i] = combined[i] > level
            level += step * ((1.0 if found[i] else 0.0) - rate)
    return level
