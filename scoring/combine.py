"""Raw scores of several parts → one value an event: robust z-scores, and the odder of a long and a short view.

Raw scores of a forest and of half-space trees share no scale, so each is measured against the part's own past, by
median and spread of the last 16,384 events. A burst of anomalies much shorter than half of that moves neither far, and
whatever lasts longer is the new usual.

The frozen part sees the stream as training saw it: it knows a burst for what it is, however long, and errs when the
stream moves. The online parts follow the stream: they know its present, and take a long burst for normal. An event is
as odd as the odder of the two views says; a mean would let either half-silence the other. While the frozen part's usual
score is where training left it, that part is trusted, and the online view counts three quarters; the farther it has
moved, the less the one counts, and the more the other.

It all goes event by event: batches change nothing. `docs/streams.md` compares this with other rules.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .counting import count_below
from .errors import ModelError

Floats = NDArray[np.float64]

# All scores are kept until there are so many, then every 16th: the last 16,384 events, 8 kB a part.
KEPT, EVERY = 1_024, 16
# A part's first z-scores would be measured against a handful of events; it says nothing before this many.
WARM_EVENTS = 100
# The frozen part's usual score and spread may wander by half a spread: bursts and chance move them so far. A spread
# more, and it counts a fifth.
LEEWAY, DISTRUST = 0.5, 4.0
# Online parts find more of the ordinary odd than a forest that knows much of the stream: their alarms count for less.
ONLINE = 0.75
# Below, "very normal" must not outvote another part's alarm; above, values approach the cap and keep their order.
FLOOR, CAP = -3.0, 8.0
#: A forest that labels made knows what is looked for: online parts are heard beyond so many spreads only, where one in
#: twenty ordinary events is. On simulated sessions that costs the forest nothing (average precision .93; .80 without).
LABELLED_LEAD = 2.0
# No score comes near it; as a count of events float64 holds it exactly.
LARGEST = 2.0**53
# A spread below this is rounding noise of a part that always says the same.
FLAT = 1e-12

#: The columns of the state; the scores kept follow.
HEARD, USUAL, SPREAD, SCORES = range(4)


class Combiner:
    """One row a part: scores heard, the median and spread that `settle` found (0 before), and the scores kept."""

    def __init__(self, parts: int) -> None:
        self.state = np.zeros((parts, SCORES + KEPT))
        self.ordered = np.zeros((parts, KEPT))  # the kept scores once more, ascending

    def combine(self, raw: Floats, lead: float = 0.0) -> tuple[Floats, Floats]:
        """Raw scores float64[n, parts] (higher = odder, NaN = silent) → combined float64[n], z float64[n, parts].

        The first column is the frozen part's. z is in [-3, 8], NaN while its part is silent or has been heard fewer
        than 100 times; combined is the greater of the frozen part's z and the weighted mean of the others' less `lead`,
        NaN if there is none. Learns every event, in order.
        """
        combined, z = np.empty(len(raw)), np.empty(raw.shape)
        _combine(np.ascontiguousarray(raw), lead, self.state, self.ordered, combined, z)
        return combined, z

    def settle(self) -> None:
        """Training ends here: what the frozen part's scores are now is what they are measured against from now on."""
        heard = int(self.state[0, HEARD])
        if heard >= WARM_EVENTS:
            self.state[0, USUAL], self.state[0, SPREAD] = _usual(self.ordered[0], min(heard, KEPT))

    @property
    def shift(self) -> float:
        """How far the frozen part's usual score lies from where `settle` found it, in spreads; 0 while not known."""
        heard, spread = int(self.state[0, HEARD]), float(self.state[0, SPREAD])
        if heard < WARM_EVENTS or spread <= FLAT:
            return 0.0
        return float(self.ordered[0, min(heard, KEPT) // 2] - self.state[0, USUAL]) / spread

    def to_arrays(self) -> dict[str, Floats]:
        """The state as plain arrays: for bundles and checkpoints."""
        return {"state": self.state.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], parts: int) -> "Combiner":
        """Checked state. Raises `ModelError`."""
        state = arrays.get("state")
        if state is None or state.dtype != np.float64 or state.shape != (parts, SCORES + KEPT):
            raise ModelError(f"state must be float64[{parts}, {SCORES + KEPT}]", where="combiner")
        combiner = cls(parts)
        combiner.state[:] = state
        heard, spread = combiner.state[:, HEARD], combiner.state[:, SPREAD]
        possible = (np.abs(combiner.state) <= LARGEST).all() and (heard >= 0).all() and (spread >= 0).all()
        if not possible or (heard % 1 != 0).any():
            raise ModelError("state holds values that no run can produce", where="combiner")
        for part, held in enumerate(np.minimum(heard, KEPT).astype(np.int64).tolist()):
            combiner.ordered[part, :held] = np.sort(combiner.state[part, SCORES : SCORES + held])
        return combiner


@njit(cache=True, nogil=True)
def _combine(raw, lead, state, ordered, combined, z):  # type: ignore[no-untyped-def]
    for i in range(raw.shape[0]):
        frozen, trust, online, speaking = np.nan, 0.0, 0.0, 0
        for part in range(raw.shape[1]):
            score = raw[i, part]
            z[i, part] = np.nan
            if np.isnan(score):
                continue
            if state[part, HEARD] >= WARM_EVENTS:
                z[i, part], trusted = _z(score, state[part], ordered[part])
                if part == 0:
                    frozen, trust = z[i, part], trusted
                else:
                    online += z[i, part]
                    speaking += 1
            _keep(score, state[part], ordered[part])
        combined[i] = frozen
        if speaking > 0:
            online /= speaking
            online *= 1.0 - (1.0 - ONLINE) * trust if online > 0.0 else 1.0
            online -= lead
            if not frozen >= online:
                combined[i] = online


@njit(cache=True, nogil=True)
def _z(score, own, ordered):  # type: ignore[no-untyped-def]
    usual, spread = _usual(ordered, min(np.int64(own[HEARD]), KEPT))
    trust = 1.0
    if own[SPREAD] > FLAT:
        shift = (usual - own[USUAL]) / own[SPREAD]
        beyond = max(abs(shift) - LEEWAY, 0.0)
        usual = own[USUAL] + np.copysign(beyond, shift) * own[SPREAD]
        spread = own[SPREAD] + max(spread - (1.0 + LEEWAY) * own[SPREAD], 0.0)
        trust = 1.0 / (1.0 + DISTRUST * beyond)
    if spread <= FLAT:
        return 0.0, trust
    value = trust * (score - usual) / spread
    return CAP - CAP * CAP / (CAP + value) if value > 0.0 else max(value, FLOOR), trust


@njit(cache=True, nogil=True)
def _usual(ordered, held):  # type: ignore[no-untyped-def]
    """Median and spread of the scores kept.

    The spread is a normal distribution's sigma, taken from the lower half, which no burst reaches: from the median down
    to the 16 % point. Where those are one (a classifier that gives most events probability 0), the largest is 8 spreads
    off.
    """
    median = ordered[held // 2]
    spread = median - ordered[held * 4 // 25]
    return median, spread if spread > 0.0 else (ordered[held - 1] - median) / CAP


@njit(cache=True, nogil=True)
def _keep(score, own, ordered):  # type: ignore[no-untyped-def]
    heard = int(own[HEARD])
    own[HEARD] = heard + 1
    if heard >= KEPT and heard % EVERY != 0:
        return
    held = heard if heard < KEPT else KEPT
    place = SCORES + (heard if heard < KEPT else (heard - KEPT) // EVERY % KEPT)
    to = count_below(ordered, held, score)
    if held == KEPT:
        gone = count_below(ordered, held, own[place])
        if gone < to:
            to -= 1
            for k in range(gone, to):
                ordered[k] = ordered[k + 1]
        else:
            for k in range(gone, to, -1):
                ordered[k] = ordered[k - 1]
    else:
        for k in range(held, to, -1):
            ordered[k] = ordered[k - 1]
    ordered[to] = score
    own[place] = score
