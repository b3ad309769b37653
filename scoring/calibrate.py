"""Combined value → `score` in [0, 1): the percentile among recent events, the far tail ordered by the value itself.

With m recent values held, the conformal p-value of x is p = (1 + #{held >= x}) / (m + 1), taken before x enters
(Vovk, Gammerman & Shafer 2005). The score is 1 - p where x ties with a held value, interpolated between neighbours
(never above 1 - p), and beyond the largest held value it runs from m / (m + 1) towards 1 with the excess, so that two
new extremes don't tie. It is a percentile, not a probability.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .counting import count_below
from .errors import ModelError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Resolution 1/5001: a score of 0.9998 is "once in five thousand events". 40 kB twice, half a µs an event.
WINDOW = 5_000
# Percentiles of fewer values than this would call one event in a few "extreme".
WARM_EVENTS = 100


class Ranker:
    """The last `WINDOW` combined values: a ring in arrival order and a sorted copy."""

    def __init__(self, window: int = WINDOW) -> None:
        self.ring = np.zeros(window)
        self.ordered = np.full(window, np.inf)
        self.held_next = np.zeros(2, np.int64)  # how many are held, where the next one goes

    def rank(self, values: Floats) -> Floats:
        """Scores float64[n] of combined values float64[n], each ranked before it enters, in order.

        NaN where the value is NaN (which doesn't enter) or fewer than 100 values are held.

        >>> ranker = Ranker(window=1000)
        >>> ranker.rank(np.arange(999.0)) is not None, ranker.rank(np.array([499.0, 2000.0])).round(6).tolist()
        (True, [0.499, 0.999999])
        """
        scores = np.empty(len(values))
        _rank(np.ascontiguousarray(values), self.ring, self.ordered, self.held_next, scores)
        return scores

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """What a restart needs: the values in arrival order, oldest first."""
        held, following = int(self.held_next[0]), int(self.held_next[1])
        first = (following - held) % len(self.ring)
        return {"values": np.roll(self.ring, -first)[:held].copy(), "window": np.array([len(self.ring)], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> "Ranker":
        """Checked state. Raises `ModelError`."""
        values, window = arrays.get("values"), arrays.get("window")
        if window is None or window.dtype != np.int64 or window.shape != (1,) or not 1 <= int(window[0]) <= 10 * WINDOW:
            raise ModelError(f"window must be one int64 from 1 to {10 * WINDOW}", where="ranker")
        if values is None or values.dtype != np.float64 or values.ndim != 1 or len(values) > int(window[0]):
            raise ModelError("values must be float64, no more than the window", where="ranker")
        if not np.isfinite(np.asarray(values, np.float64)).all():
            raise ModelError("values must be finite", where="ranker")
        ranker = cls(int(window[0]))
        held = len(values)
        ranker.ring[:held] = values
        ranker.ordered[:held] = np.sort(values)
        ranker.held_next[:] = held, held % len(ranker.ring)
        return ranker


@njit(cache=True, nogil=True)
def _rank(values, ring, ordered, held_next, scores):  # type: ignore[no-untyped-def]
    window = len(ring)
    for i in range(len(values)):
        value = values[i]
        if np.isnan(value):
            scores[i] = np.nan
            continue
        held, following = held_next[0], held_next[1]
        below = count_below(ordered, held, value)
        if held < WARM_EVENTS:
            scores[i] = np.nan
        elif below == held:
            excess = value - ordered[held - 1]
            scores[i] = (held + excess / (1.0 + excess)) / (held + 1.0)
        elif below == 0:
            scores[i] = 0.0
        else:
            lower, upper = ordered[below - 1], ordered[below]
            scores[i] = (below - 1 + (value - lower) / (upper - lower)) / (held + 1.0)
        gone = held
        if held == window:
            gone = count_below(ordered, held, ring[following])
            held -= 1
        # One leaves at `gone`, one enters: only what lies between moves. (Unsigned indices, as in `counting`: ten times
        # as fast.)
        first, steps = np.uint64(gone), np.uint64(abs(below - gone))
        if below > gone:
            below -= 1
            for k in range(first, first + steps - np.uint64(1)):
                ordered[k] = ordered[k + np.uint64(1)]
        else:
            for k in range(steps):
                ordered[first - k] = ordered[first - k - np.uint64(1)]
        ordered[below] = value
        ring[following] = value
        held_next[0] = held + 1
        held_next[1] = (following + 1) % window
