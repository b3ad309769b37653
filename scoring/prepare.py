"""What a model's features normally look like; makes any row fit for a model: no gaps, nothing beyond all bounds."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

Floats = NDArray[np.float64]

# A value is clipped three training widths beyond what training saw. A forest's thresholds all lie inside that range,
# so no frozen score changes; the online part's running variance, which a 1e9 would blow up for thousands of events,
# then grows by a bounded amount (its weight for one event is 1/1478), and halves every 1,024 events.
CLIP_WIDTHS = 3.0
# A feature that never varied in training still needs a width to be judged by.
SMALLEST_SPREAD = 1e-9
# Forests compare in float32 (3.4e38 at most), and a variance squares what is left.
LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class Reference:
    """Per feature, float64[f], of training: `median`; `spread`, the interquartile range, or the standard deviation
    where that is 0; `usual_low`, `usual_high`, between which 90 % lie; the clip bounds `low`, `high`.
    """

    median: Floats
    spread: Floats
    usual_low: Floats
    usual_high: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, matrix: Floats) -> "Reference":
        """From training rows float64[n, f], NaN = missing. A feature that is always missing counts as 0.

        >>> reference = Reference.fit(np.array([[1.0], [2.0], [3.0], [np.nan]]))
        >>> reference.median.tolist(), reference.low.tolist(), reference.high.tolist()
        ([2.0], [-5.0], [9.0])
        """
        if len(matrix) == 0 or not np.isfinite(matrix).any():
            raise ModelError("there is nothing to learn from: no row has a finite feature")
        columns = [np.clip(column[np.isfinite(column)], -LARGEST, LARGEST) for column in matrix.T]
        usual_low, lower, median, upper, usual_high = np.array(
            [np.quantile(c, [0.05, 0.25, 0.5, 0.75, 0.95]) if len(c) else np.zeros(5) for c in columns]
        ).T.copy()
        least = np.array([c.min() if len(c) else 0.0 for c in columns])
        most = np.array([c.max() if len(c) else 0.0 for c in columns])
        # A flag that is almost always 0 has no interquartile range; its standard deviation still says how rare 1 is.
        deviation = np.array([c.std() if len(c) else 0.0 for c in columns])
        between = upper - lower
        spread = np.maximum(np.where(between > 0, between, deviation), SMALLEST_SPREAD)
        width = np.maximum(most - least, spread)
        low = np.clip(least - CLIP_WIDTHS * width, -LARGEST, LARGEST)
        high = np.clip(most + CLIP_WIDTHS * width, -LARGEST, LARGEST)
        return cls(np.clip(median, low, high), np.minimum(spread, LARGEST), usual_low, usual_high, low, high)

    def fill(self, matrix: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """A copy without NaN or infinity, float64[n, f], and bool[n, f] telling which values were missing.

        Missing values become the training median, finite ones stay or are clipped to `low`, `high`.
        """
        missing = ~np.isfinite(matrix)
        return np.where(missing, self.median, np.clip(matrix, self.low, self.high)), missing

    def to_arrays(self) -> dict[str, Floats]:
        """The arrays by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], features: int) -> "Reference":
        """Checked: float64[features] within ±1e30 each, low <= median <= high, positive spread. Raises `ModelError`."""
        checked: dict[str, Floats] = {}
        for name in (one.name for one in fields(cls)):
            array = arrays.get(name)
            if array is None or array.dtype != np.float64 or array.shape != (features,):
                raise ModelError(f"{name} must be float64[{features}]", where="reference")
            checked[name] = np.asarray(array, np.float64)
            if not (np.abs(checked[name]) <= LARGEST).all():
                raise ModelError(f"{name} must be numbers within ±{LARGEST}", where="reference")
        reference = cls(**checked)
        if not (
            (reference.low <= reference.median)
            & (reference.median <= reference.high)
            & (reference.usual_low <= reference.usual_high)
            & (reference.spread > 0)
        ).all():
            raise ModelError("bounds are out of order", where="reference")
        return reference
