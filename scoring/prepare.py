"""What a model's features normally look like; makes any row fit for a model: no gaps, nothing beyond all bounds."""

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .errors import ModelError

Floats = NDArray[np.float64]

# A value is clipped three training widths beyond what training saw. A forest's thresholds all lie inside that range,
# so no frozen score changes; the online part's running variance, which a 1e9 would blow up for thousands of events,
# then grows by a bounded amount (its weight for one event is 1/1478), and halves every 1,024 events.
CLIP_WIDTHS = 3.0
# A feature that never varied in training still needs a width to be judged by.
SMALLEST_SPREAD = 1e-9
# The shares at which the quantiles of training are kept: fine in the tails, where "above 99.8 %" tells more than 99 %.
TAIL = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005)
LEVELS = np.array([0.0, *TAIL, *(i / 100 for i in range(1, 100)), *(1 - level for level in TAIL[::-1]), 1.0])
# How rare it is to be as far out as each level, in powers of ten; 0 at the median. (Beyond all of training: `places`.)
RARITY = -np.log10(2 * np.maximum(np.minimum(LEVELS, 1 - LEVELS), TAIL[0]))
for constant in (LEVELS, RARITY):
    constant.setflags(write=False)
# Forests compare in float32 (3.4e38 at most), and a variance squares what is left.
LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class Reference:
    """Per feature, float64[f], of training: `median`; `spread`, the interquartile range, or the standard deviation
    where that is 0; `usual_low`, `usual_high`, between which 90 % lie; the clip bounds `low`, `high`; `rows`, how many
    rows had the feature. `quantiles` float64[f, levels]: the values of training at LEVELS.
    """

    median: Floats
    spread: Floats
    usual_low: Floats
    usual_high: Floats
    low: Floats
    high: Floats
    rows: Floats
    quantiles: Floats

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
        rows = np.array([len(c) for c in columns], np.float64)
        quantiles = np.array([_quantiles(np.sort(c)) if len(c) else np.zeros(len(LEVELS)) for c in columns])
        median, spread = np.clip(median, low, high), np.minimum(spread, LARGEST)
        return cls(median, spread, usual_low, usual_high, low, high, rows, quantiles)

    def fill(self, matrix: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """A copy without NaN or infinity, float64[n, f], and bool[n, f] telling which values were missing.

        Missing values become the training median, finite ones stay or are clipped to `low`, `high`.
        """
        missing = ~np.isfinite(matrix)
        return np.where(missing, self.median, np.clip(matrix, self.low, self.high)), missing

    def deviation(self, matrix: Floats) -> Floats:
        """float64[n, f]: distance from the median of training in spreads; NaN = missing."""
        with np.errstate(over="ignore", invalid="ignore"):
            distance = (matrix - self.median) / self.spread
        return np.where(np.isfinite(matrix), np.clip(distance, -LARGEST, LARGEST), np.nan)

    def percentile(self, matrix: Floats) -> Floats:
        """float64[n, f]: the share of training below each value, in [0, 1]; NaN = missing, or never seen in training.

        Always on the safe side, nearer to the middle than the truth: of p > 0.5 it is true that a share of at least p
        lies below the value, of p < 0.5 that at least 1 - p lies above it. Hence values that half of training has are
        at 0.5, and only those beyond all of training at 0 or 1.

        >>> reference = Reference.fit(np.arange(1000.0).reshape(-1, 1))
        >>> reference.percentile(np.array([[-1.0], [2.5], [499.0], [2e3]])).ravel().tolist()
        [0.0, 0.005, 0.5, 1.0]
        """
        return self.places(matrix)[0]

    def places(self, matrix: Floats) -> tuple[Floats, Floats]:
        """Each value's percentile, and its rarity: how far out in the tails it is, in powers of ten, 0 = ordinary.

        Rarity is -log10(2 min(p, 1 - p)); of values beyond all n rows of training log10((n + 1) / 2), and up to 1 more
        the farther they are, so that not all of them tie. float64[n, f] both, NaN where the percentile is.
        """
        percentile, rarity = np.empty(matrix.shape), np.empty(matrix.shape)
        # The logarithm of one number a feature: of a batch, its last bit might depend on the batch's length.
        _place(matrix, self.quantiles, LEVELS, RARITY, self.rows, np.log10((self.rows + 1) / 2), percentile, rarity)
        return percentile, rarity

    def to_arrays(self) -> dict[str, Floats]:
        """The arrays by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], features: int) -> "Reference":
        """Checked: float64[features] within ±1e30 each, low <= median <= high, positive spread. Raises `ModelError`.

        `quantiles` float64[features, levels] must ascend, `rows` be counts.
        """
        checked: dict[str, Floats] = {}
        for name in (one.name for one in fields(cls)):
            array = arrays.get(name)
            shape = (features, len(LEVELS)) if name == "quantiles" else (features,)
            if array is None or array.dtype != np.float64 or array.shape != shape:
                raise ModelError(f"{name} must be float64{list(shape)}: train anew?", where="reference")
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
        if (np.diff(reference.quantiles, axis=1) < 0).any():
            raise ModelError("quantiles are out of order", where="reference")
        if ((reference.rows < 0) | (reference.rows != np.floor(reference.rows))).any():
            raise ModelError("rows must be counts", where="reference")
        return reference


def _quantiles(ascending: Floats) -> Floats:
    """Of n values: above that of level p lie a share of at least 1 - p, below it at least p, itself counting to both.

    In the lower half as far up, in the upper half as far down as this is true: claims about tails are from the middle.
    """
    n, rounding = len(ascending), 1e-6  # 999.0000001 of 1,000 are 999
    reached = np.where(LEVELS <= 0.5, np.floor(LEVELS * n + rounding), np.ceil(LEVELS * n - rounding) - 1)
    return np.asarray(ascending[reached.astype(np.int64)], np.float64)


@njit(cache=True, nogil=True)
def _place(matrix, quantiles, levels, tails, rows, beyond, percentile, rarity):  # type: ignore[no-untyped-def]
    last = len(levels) - 1
    for column in range(matrix.shape[1]):
        grid = quantiles[column]
        for row in range(matrix.shape[0]):
            value = matrix[row, column]
            percentile[row, column] = rarity[row, column] = np.nan
            if rows[column] == 0 or not np.isfinite(value):
                continue
            below = np.searchsorted(grid, value) - 1  # the last quantile that is less
            above = np.searchsorted(grid, value, side="right")  # the first that is greater
            if below == last or above == 0:
                excess = min(max(value - grid[last], grid[0] - value), LARGEST)
                percentile[row, column] = 1.0 if below == last else 0.0
                rarity[row, column] = beyond[column] + excess / (excess + grid[last] - grid[0])
            else:
                level = min(max(last // 2, below), above)  # levels[last // 2] is 0.5
                percentile[row, column], rarity[row, column] = levels[level], tails[level]
