"""How far out each feature lies among the latest events: an empirical distribution a feature, rolling."""

import math
from typing import ClassVar

import numpy as np
from numba import njit

from .counting import count_below, count_up_to
from .rolling import Floats, Rolling

# Keeps a feature that was constant from dividing by 0; any other value of it is then far out.
FLAT = 1e-12


class RollingEcdf(Rolling):
    """ECOD (Li, Zhao, Hu et al. 2022) on a stream: each feature's tail probability among the last 1,024 events.

    With m of them held, lo that are <= x and hi that are >= x, a feature's term is -ln((min(lo, hi) + 0.5) / (m + 1)),
    plus ln(1 + d / width) where x is d beyond the range of the m, which is `width` wide. The score is the sum over the
    features, higher = more anomalous. The reference moves on after each block of 256 events; silent (NaN) in the first.

    Features are looked at one by one: it is at its best where single features (counts, amounts) go far out, and blind
    to odd combinations of ordinary values.

    >>> X = np.random.default_rng(0).normal(size=(1_500, 3))
    >>> X[1_400] = 6.0, -6.0, 6.0
    >>> scores = RollingEcdf(3).score_learn(X)
    >>> int(np.isnan(scores).sum()), int(np.nanargmax(scores))
    (256, 1400)
    """

    SETTINGS: ClassVar = {"window": (2, 1 << 20), "every": (2, 1 << 20)}
    DTYPE = np.float64

    def __init__(self, n_features: int, *, window: int = 1_024, every: int = 256) -> None:
        """A part that has seen nothing, for rows of so many features. Raises `ModelError` for odd settings."""
        super().__init__(n_features, window=window, every=every)

    def _make(self, rows: Floats) -> None:
        m = len(rows)
        self._ordered = np.sort(np.ascontiguousarray(rows.T), axis=1)
        self._surprise = -np.log((np.arange(m + 1) + 0.5) / (m + 1))

    def _score(self, rows: Floats) -> Floats:
        scores = np.zeros(len(rows))
        _add_terms(rows, self._ordered, self._surprise, scores)
        return scores

    def _contribute(self, rows: Floats) -> Floats:
        terms = np.zeros(rows.shape)
        for column in range(self.n_features):
            one = np.ascontiguousarray(rows[:, column : column + 1])
            _add_terms(one, self._ordered[column : column + 1], self._surprise, terms[:, column])
        return np.asarray(terms - self._surprise[len(self._surprise) // 2], np.float64)  # less the term of a median


@njit(cache=True, nogil=True)
def _add_terms(rows: Floats, ordered: Floats, surprise: Floats, scores: Floats) -> None:
    """Feature by feature, as one feature's reference (8 KB) stays in the nearest cache."""
    for column in range(rows.shape[1]):
        known = ordered[column]
        m = len(known)
        least, greatest = known[0], known[m - 1]
        width = greatest - least + FLAT
        for i in range(len(rows)):
            x = rows[i, column]
            smaller = count_below(known, m, x)
            # Of continuous values few are met twice: only then is a second search needed.
            up_to = smaller if smaller == m or known[smaller] != x else count_up_to(known, m, x)
            term = surprise[min(up_to, m - smaller)]
            if x > greatest:
                term += math.log(1.0 + (x - greatest) / width)
            elif x < least:
                term += math.log(1.0 + (least - x) / width)
            scores[i] += term
