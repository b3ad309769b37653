"""Raw scores of several parts → one value an event: capped, guarded running z-scores, averaged over the parts.

Raw scores of a forest and of half-space trees share no scale. Each is measured against its own recent past instead
(mean and variance with a half-life of 20,000 events). The guard keeps the most extreme 2 % from moving that past, so
that a burst of anomalies doesn't raise the bar against itself. It all goes event by event: batches change nothing.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .errors import ModelError

Floats = NDArray[np.float64]

HALF_LIFE = 20_000
DECAY = 1 - 0.5 ** (1 / HALF_LIFE)
# A part's first z-scores would be measured against a handful of events; it says nothing before this many.
WARM_EVENTS = 100
# The guard starts once mean and variance have settled; it tries again this much later if nothing varied yet.
GUARD_START, GUARD_RETRY = 500, 200
GUARD_SIGMAS, GUARD_SHARE, GUARD_STEP = 2.5, 0.02, 0.002
# Below, "very normal" must not outvote another part's alarm; above, one part must not drown the others.
FLOOR, CAP = -3.0, 8.0
FLAT = 1e-12
# No score comes near it; as a count of events float64 holds it exactly.
LARGEST = 2.0**53

MEAN, VARIANCE, SEEN, GUARD, GUARD_AT = range(5)
COLUMNS = 5


class Combiner:
    """Running state of the guarded z-scores, one row a part: mean, variance, events seen, guard level, guard start."""

    def __init__(self, parts: int) -> None:
        self.state = np.zeros((parts, COLUMNS))
        self.state[:, GUARD] = np.inf
        self.state[:, GUARD_AT] = GUARD_START

    def combine(self, raw: Floats) -> tuple[Floats, Floats]:
        """Raw scores float64[n, parts] (higher = odder, NaN = silent) → combined float64[n], z float64[n, parts].

        z is capped to [-3, 8] and NaN while its part is silent or has been heard fewer than 100 times; combined is the
        mean of the z that are there, NaN if none is. Learns every event, in order.
        """
        combined, z = np.empty(len(raw)), np.empty(raw.shape)
        _combine(np.ascontiguousarray(raw), self.state, combined, z)
        return combined, z

    def to_arrays(self) -> dict[str, Floats]:
        """The state as plain arrays: for bundles and checkpoints."""
        return {"state": self.state.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], parts: int) -> "Combiner":
        """Checked state. Raises `ModelError`."""
        state = arrays.get("state")
        if state is None or state.dtype != np.float64 or state.shape != (parts, COLUMNS):
            raise ModelError(f"state must be float64[{parts}, {COLUMNS}]", where="combiner")
        others = np.delete(state, GUARD, axis=1)
        usual = (np.abs(others) <= LARGEST).all() and (others[:, 1:] >= 0).all()
        if not usual or not ((np.abs(state[:, GUARD]) <= LARGEST) | (state[:, GUARD] == np.inf)).all():
            raise ModelError("state holds values that no run can produce", where="combiner")
        combiner = cls(parts)
        combiner.state[:] = state
        return combiner


@njit(cache=True, nogil=True)
def _combine(raw, state, combined, z):  # type: ignore[no-untyped-def]
    for i in range(raw.shape[0]):
        total, speaking = 0.0, 0
        for part in range(raw.shape[1]):
            score = raw[i, part]
            z[i, part] = np.nan
            if np.isnan(score):
                continue
            mean, variance, seen = state[part, MEAN], state[part, VARIANCE], state[part, SEEN]
            sigma = np.sqrt(variance)
            if seen >= WARM_EVENTS:
                value = (score - mean) / sigma if sigma > FLAT else 0.0
                z[i, part] = min(max(value, FLOOR), CAP)
                total += z[i, part]
                speaking += 1
            state[part, SEEN] = seen + 1
            if seen == state[part, GUARD_AT]:
                if sigma > 0:
                    state[part, GUARD] = mean + GUARD_SIGMAS * sigma
                else:
                    state[part, GUARD_AT] += GUARD_RETRY
            guard = state[part, GUARD]
            hit = score > guard
            if guard < np.inf:
                state[part, GUARD] = guard + GUARD_STEP * sigma * ((1.0 if hit else 0.0) - GUARD_SHARE)
            if not hit:
                weight = max(DECAY, 1.0 / (seen + 1))
                difference = score - mean
                state[part, MEAN] = mean + weight * difference
                state[part, VARIANCE] = (1 - weight) * (variance + weight * difference * difference)
        combined[i] = total / speaking if speaking else np.nan
