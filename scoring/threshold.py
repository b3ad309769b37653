"""A threshold on the combined value that follows the stream: so many alarms in the long run, whatever drifts.

Robbins & Monro's stochastic approximation of a quantile (1951), with a step that doesn't shrink, as the stream never
settles. The long-run rate is right for any bounded sequence, exchangeable or not (Gibbs & Candès 2021). The price: in
an incident every alarm raises the bar for the next. Broken rules (`rules.py`) are outside of it: always an alarm, and
they raise no bar.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .combine import CAP
from .errors import ModelError

Floats = NDArray[np.float64]

# The step in units of the distance from median to 99 % point.
STEP = 0.5
FEWEST = 100
#: How often an event is to be of each severity, the mildest first.
SEVERITIES: Mapping[str, float] = {"notable": 0.01, "high": 0.001}
# Where nothing is known yet, combined values are taken for what they are made to be, standard normal: their 99 % and
# 99.9 % points, and a step for that spread. From a wrong start of 3 the bar finds its place within 3 / (step rate)
# events, 2,600 at one in a hundred.
NORMAL = {0.01: 2.326, 0.001: 3.09}
NORMAL_STEP = STEP * NORMAL[0.01]
# Combined values lie in -3 to 8; a bar that has moved a step beyond is still far below this.
HIGHEST_LEVEL = 1e3


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
        return self.alarms_at(combined, np.full(len(combined), self.rate))

    def alarms_at(self, combined: Floats, rates: Floats) -> NDArray[np.bool_]:
        """The same with a nominal rate for each event, float64[n]."""
        found = np.zeros(len(combined), np.bool_)
        self.level = float(_alarms(np.ascontiguousarray(combined), rates, self.level, self.step, found))
        return found


class Thresholds:
    """A threshold for each of `SEVERITIES`; what events teach them belongs into bundles and checkpoints."""

    def __init__(self, thresholds: Sequence[Threshold]) -> None:
        self.thresholds = tuple(thresholds)

    @classmethod
    def begin(cls) -> Self:
        """Where nothing is known of the combined values yet."""
        return cls([Threshold(rate, NORMAL[rate], NORMAL_STEP) for rate in SEVERITIES.values()])

    @classmethod
    def fit(cls, combined: Floats) -> Self:
        """As `Threshold.fit`."""
        return cls([Threshold.fit(combined, rate) for rate in SEVERITIES.values()])

    @property
    def levels(self) -> dict[str, float]:
        """The bars now, by severity."""
        return {name: one.level for name, one in zip(SEVERITIES, self.thresholds, strict=True)}

    def beyond(self, rate: float) -> Threshold:
        """One for another rate, from what these know: on the line through their levels, as if of a normal variable.

        >>> level = Thresholds.begin().beyond(1e-4).level
        >>> round(level, 2), round(NormalDist().inv_cdf(1 - 1e-4), 2)
        (3.72, 3.72)
        """
        (mild, severe), far = self.thresholds, NormalDist().inv_cdf
        near, at = far(1 - mild.rate), far(1 - severe.rate)
        slope = max(severe.level - mild.level, 0.0) / (at - near)
        return Threshold(rate, mild.level + slope * (far(1 - rate) - near), severe.step)

    def alarms(self, combined: Floats) -> NDArray[np.bool_]:
        """bool[n, severities] of combined values float64[n]: which bars each exceeds before it moves them."""
        return np.column_stack([one.alarms(combined) for one in self.thresholds])

    def to_arrays(self) -> dict[str, Floats]:
        """`state` float64[severities, 3]: rate, level, step."""
        return {"state": np.array([[one.rate, one.level, one.step] for one in self.thresholds])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Checked state. Raises `ModelError`."""
        state, rates = arrays.get("state"), list(SEVERITIES.values())
        if state is None or state.dtype != np.float64 or state.shape != (len(rates), 3):
            raise ModelError(f"state must be float64[{len(rates)}, 3]", where="thresholds")
        if not (np.abs(state) <= HIGHEST_LEVEL).all() or state[:, 0].tolist() != rates:
            raise ModelError(
                f"state must hold numbers within ±{HIGHEST_LEVEL:g} for the rates {rates}", where="thresholds"
            )
        return cls([Threshold(rate, level, step) for rate, level, step in state.tolist()])


@njit(cache=True, nogil=True)
def _alarms(combined, rates, level, step, found):  # type: ignore[no-untyped-def]
    for i in range(len(combined)):
        if combined[i] > CAP:
            found[i] = True
        elif not np.isnan(combined[i]):
            found[i] = combined[i] > level
            level += step * ((1.0 if found[i] else 0.0) - rates[i])
    return level
