"""How far the features of the stream have moved from those the model was trained on: the population stability index."""

import numpy as np
from numpy.typing import NDArray

from ..scoring.prepare import LEVELS, Reference

Floats = NDArray[np.float64]

# The index as it is commonly made: training in ten bins of equal share (Siddiqi, Credit Risk Scorecards, 2006).
DECILES = np.searchsorted(LEVELS, np.arange(1, 10) / 10 - 1e-9)
# An empty bin would make it infinite.
SMALLEST_SHARE = 1e-4
# An event's weight halves every so many; below `FEWEST` values chance alone makes 0.02 and more of ten bins.
HALF_LIFE = 5_000.0
FEWEST = 500.0
# One batch a second is looked at: a sample, as good as all, and nothing that the hot path would feel.
EVERY_SECONDS = 1.0


class Drift:
    """Compares events with a model's reference population, feature by feature; missing values are left out.

    Values of training that many rows share make bins of unequal share, or fewer bins; what training never saw counts to
    the outermost.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        quantiles = reference.quantiles
        self.edges = np.ascontiguousarray(quantiles[:, DECILES].T)  # [9, f], ascending
        # Up to each edge lies the share of the highest level whose quantile is no greater.
        reached = np.array([(quantiles <= edge[:, None]).sum(axis=1) for edge in self.edges])
        self.expected = _shares(np.vstack([1 - LEVELS[reached - 1], np.zeros(quantiles.shape[0])]))
        self.beyond = np.zeros((len(DECILES) + 1, quantiles.shape[0]))  # weights beyond each edge; the last row stays 0
        self.present = np.zeros(quantiles.shape[0])
        self.looked_at = -np.inf

    def see(self, matrix: Floats, now: float) -> None:
        """Look at float64[n, f] of scored events, NaN = missing; `now`, seconds, says if it is time to."""
        if len(matrix) == 0 or now - self.looked_at < EVERY_SECONDS:
            return
        self.looked_at = now
        kept = 0.5 ** (len(matrix) / HALF_LIFE)
        self.present *= kept
        self.present += np.isfinite(matrix).sum(axis=0)
        self.beyond *= kept
        self.beyond[:-1] += ((matrix > self.edges[:, None]) & (matrix < np.inf)).sum(axis=1)

    def index(self) -> Floats:
        """float64[f]: the index of each feature; 0 = as in training, 0.1 some, 0.25 much; NaN until there are enough.

        >>> rng = np.random.default_rng(1)
        >>> drift = Drift(Reference.fit(rng.normal(size=(10_000, 2))))
        >>> drift.see(rng.normal([0, 1], 1, size=(2_000, 2)), now=0.0)
        >>> drift.index().round(1).tolist()
        [0.0, 0.9]
        """
        with np.errstate(invalid="ignore"):
            shares = _shares(self.beyond / np.where(self.present >= FEWEST, self.present, np.nan))
        return np.asarray(((shares - self.expected) * np.log(shares / self.expected)).sum(axis=0), np.float64)


def _shares(beyond: Floats) -> Floats:
    """float64[10, f]: what share lies in each bin, from the shares that lie beyond each edge."""
    first = np.where(np.isnan(beyond[:1]), np.nan, 1.0)
    return np.maximum(-np.diff(np.vstack([first, beyond]), axis=0), SMALLEST_SHARE)
