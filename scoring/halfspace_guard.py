"""Robust half-space trees on bursty streams: an outlier moves the scaling by so much at most, a burst isn't learned.

The same loop as `halfspace_kernel.score_learn_robust`, whose requirements hold here too, with two options. A kernel of
its own, so that those who don't want them don't pay for them.

- `winsor`: after the first hundred events, a value's distance from the running mean counts as three spreads at most.
- the guard: events whose score is above a tracked level, about 2 % in the long run, are scored and then forgotten. As
  the level follows at a fixed step, a lasting change is learned after some thousands of events.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .errors import ModelError
from .halfspace_kernel import (
    FORGETTING,
    Floats,
    Ints,
    Record,
    _follow,
    _learn,
    _log_mass,
    _path,
    _record,
    _soft_sign,
    _walk,
)

# The scaling of the first events is too rough to clip by; later ones count as three spreads off at most.
WINSOR_AFTER, WINSOR_SPREADS = 100, 3.0
# Running mean and variance of the scores (the last 1,000 or so); the level starts after 200 at mean + 2 spreads, and
# then follows the 2 % point by Robbins & Monro's rule.
GUARD_FORGETTING, GUARD_START, GUARD_SPREADS, GUARD_SHARE, GUARD_STEP = 0.001, 200, 2.0, 0.02, 0.002
# The guard's state: events scored, mean and variance of their scores, and the level, infinite until it starts.
SCORED, MEAN, VARIANCE, LEVEL = range(4)


def new_guard() -> Floats:
    """The state of a guard that has seen no score, float64[4]: scored, mean, variance, level."""
    return np.array([0.0, 0.0, 0.0, np.inf])


def checked_guard(state: Mapping[str, NDArray[Any]], learned: int, window: int, height: int) -> Floats:
    """A copy of the guard's state, if scores can lead to it. Raises `ModelError`."""
    guard = state["guard"]
    if guard.dtype != np.float64 or guard.shape != (4,):
        raise ModelError(f"is {guard.dtype}{list(guard.shape)}, expected float64[4]", where="guard")
    scored, mean, variance, level = guard.tolist()
    # Scores lie between minus the largest logarithm and 0; the level moves only towards them, a fraction of their
    # spread at a time. Each end has room for rounding.
    most = 2 * math.log2(1 + window * 2.0**height)
    fine = scored == math.floor(scored) if 0 <= scored <= 1 << 53 else False
    fine = fine and (scored >= learned - window if learned > window else scored == 0 or learned == window)
    fine = fine and abs(mean) <= most and 0 <= variance <= most**2
    fine = fine and (abs(level) <= 4 * most if scored >= GUARD_START else level == math.inf)
    if not fine:
        raise ModelError("holds values that no events lead to", where="guard")
    return np.array(guard)


@njit(cache=True, nogil=True)
def score_learn_guarded(
    X: Floats,
    feature: Ints,
    threshold: Floats,
    masses: Ints,
    window: int,
    learned: int,
    scale: Floats,
    log2_mass: Floats,
    winsor: bool,
    guarded: bool,
    guard: Floats,
    scores: Floats,
    record: Record,
) -> int:
    """As `score_learn_robust`, with `winsor` and, if `guarded`, the state `guard` float64[4] of `new_guard`."""
    mean, variance = scale
    path, row = _path(feature), np.empty(X.shape[1])
    first = learned // window
    for i in range(len(X)):
        _soft_sign(X[i], learned == 0, mean, variance, row)
        _walk(row, feature, threshold, path)
        _record(path, masses, learned // window, first, i, record)
        scores[i] = np.nan
        if learned >= window:
            scores[i] = _log_mass(path, masses[(learned // window + 1) % 2], window, log2_mass)
            if guarded and _is_hit(scores[i], guard):
                continue
        if winsor and learned > WINSOR_AFTER:
            _follow_clipped(X[i], learned, mean, variance)
        else:
            _follow(X[i], learned, mean, variance)
        learned = _learn(path, masses, window, learned)
    return learned


@njit(cache=True, nogil=True)
def _is_hit(score: float, guard: Floats) -> bool:
    """Whether the score is above the level; both learn from it."""
    guard[SCORED] += 1.0
    weight = max(GUARD_FORGETTING, 1.0 / guard[SCORED])
    difference = score - guard[MEAN]
    guard[MEAN] += weight * difference
    guard[VARIANCE] = (1.0 - weight) * (guard[VARIANCE] + weight * difference * difference)
    spread = math.sqrt(guard[VARIANCE])
    if guard[SCORED] == GUARD_START:
        guard[LEVEL] = guard[MEAN] + GUARD_SPREADS * spread
    if guard[SCORED] <= GUARD_START:
        return False
    hit = score > guard[LEVEL]
    guard[LEVEL] += GUARD_STEP * spread * ((1.0 if hit else 0.0) - GUARD_SHARE)
    return bool(hit)


@njit(cache=True, nogil=True)
def _follow_clipped(x: Floats, learned: int, mean: Floats, variance: Floats) -> None:
    weight = max(FORGETTING, 1.0 / (learned + 1))
    for column in range(len(x)):
        d = x[column] - mean[column]
        most = WINSOR_SPREADS * math.sqrt(variance[column])
        if most > 0.0:
            d = min(max(d, -most), most)
        mean[column] += weight * d
        variance[column] = (1.0 - weight) * (variance[column] + weight * d * d)
