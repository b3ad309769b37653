"""Half-space trees over a micro-batch, event by event: score first, learn after.

The caller (`halfspace.py`) proves what the kernels need; T trees of height h, f features, windows of W events:

- `feature` int32[T, 2^h - 1] in 0..f-1 and `threshold` float64 of that shape: inner nodes in heap order, the children
  of node i are 2i + 1 and 2i + 2;
- `masses` int32[2, T, 2^(h+1) - 1] in 0..W: while event number e is learned, `masses[e // W % 2]` counts the window
  going on and the other half holds the finished one, which scores;
- `X` float64[n, f], finite; `scale` float64[2, f]; `scores` float64[n].

All trees are walked level by level side by side: T loads are under way at once, twice as fast as tree after tree.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Paths = NDArray[np.int64]
# What is recorded for explanations (`halfspace_trail.py`), or empty arrays: the heap index of the leaf that each event
# fell into, int32[n, T]; the window, counted from the call's first, that was going on, int64[n]; and the masses that
# scored during each of those windows, int32[windows, T, 2^(h+1) - 1].
Record = tuple[Ints, Paths, Ints]

# 1 - 0.5 ** (1 / 1024), a half-life of 1,024 events; spelled out because pow may differ between maths libraries.
FORGETTING = 0.0006766724973492622
# A spread below this is a constant feature's rounding noise; any other value of it counts as 10 half-spreads off.
FLAT, OFF_FLAT = 1e-12, 10.0
# A node with a smaller share of the window than this ends the walk (Tan, Ting & Liu 2011; fixed in River).
SPARSE_SHARE = 0.1


@njit(cache=True, nogil=True)
def score_learn_river(
    X: Floats,
    feature: Ints,
    threshold: Floats,
    masses: Ints,
    window: int,
    learned: int,
    scaled: bool,
    scale: Floats,
    scores: Floats,
    record: Record,
) -> int:
    """River's score, 1 - sum of r 2^depth along the paths / its maximum. `scale` = low, high if `scaled`.

    `learned` counts the events learned before; returns what it is after.
    """
    low, high = scale
    path, row = _path(feature), np.empty(X.shape[1])
    largest = float(len(feature) * window * masses.shape[2])
    first = learned // window
    for i in range(len(X)):
        _min_max(X[i], scaled, low, high, row)
        _walk(row, feature, threshold, path)
        _record(path, masses, learned // window, first, i, record)
        scores[i] = np.nan
        if learned >= window:
            scores[i] = 1.0 - _path_mass(path, masses[(learned // window + 1) % 2], window) / largest
        if scaled:
            _widen(X[i], low, high)
            _min_max(X[i], scaled, low, high, row)
            _walk(row, feature, threshold, path)
        learned = _learn(path, masses, window, learned)
    return learned


@njit(cache=True, nogil=True)
def score_learn_robust(
    X: Floats,
    feature: Ints,
    threshold: Floats,
    masses: Ints,
    window: int,
    learned: int,
    scale: Floats,
    log2_mass: Floats,
    scores: Floats,
    record: Record,
) -> int:
    """Minus the mean over the trees of log2(1 + r 2^depth) at the walk's last node. `scale` = mean, variance.

    `log2_mass` float64[W + 1, h + 1] holds those logarithms by r and depth. `learned` as in `score_learn_river`.
    """
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
        _follow(X[i], learned, mean, variance)
        learned = _learn(path, masses, window, learned)
    return learned


@njit(cache=True, nogil=True)
def _path(feature: Ints) -> Paths:
    """Room for the nodes that an event passes, int64[T, h + 1]: the root at depth 0, a leaf at depth h."""
    height = 0
    while 2**height - 1 < feature.shape[1]:
        height += 1
    return np.zeros((len(feature), height + 1), np.int64)


@njit(cache=True, nogil=True)
def _walk(row: Floats, feature: Ints, threshold: Floats, path: Paths) -> None:
    for depth in range(path.shape[1] - 1):
        for tree in range(len(path)):
            node = path[tree, depth]
            path[tree, depth + 1] = 2 * node + (1 if row[feature[tree, node]] < threshold[tree, node] else 2)


@njit(cache=True, nogil=True)
def _record(path: Paths, masses: Ints, window: int, first: int, i: int, record: Record) -> None:
    """Into the record, if there is one; `window` numbers the one going on, `first` that of the call's first event."""
    leaves, windows, finished = record
    if len(leaves) == 0:
        return
    mass, begins = masses[(window + 1) % 2], i == 0 or window - first != windows[i - 1]
    windows[i] = window - first
    for tree in range(len(path)):  # by hand: to assign arrays, numba compiles its message for other shapes
        leaves[i, tree] = path[tree, -1]
        if begins:
            for node in range(mass.shape[1]):
                finished[windows[i], tree, node] = mass[tree, node]


@njit(cache=True, nogil=True)
def _path_mass(path: Paths, mass: Ints, window: int) -> int:
    total = 0
    for tree in range(len(path)):
        for depth in range(path.shape[1]):
            r = int(mass[tree, path[tree, depth]])
            total += r * (1 << depth)
            if r < SPARSE_SHARE * window:
                break
    return total


@njit(cache=True, nogil=True)
def _log_mass(path: Paths, mass: Ints, window: int, log2_mass: Floats) -> float:
    total = 0.0
    for tree in range(len(path)):
        depth = 0
        while depth < path.shape[1] - 1 and mass[tree, path[tree, depth]] >= SPARSE_SHARE * window:
            depth += 1
        total -= log2_mass[mass[tree, path[tree, depth]], depth]
    return total / len(path)


@njit(cache=True, nogil=True)
def _learn(path: Paths, masses: Ints, window: int, learned: int) -> int:
    latest = masses[learned // window % 2]
    for tree in range(len(path)):
        for depth in range(path.shape[1]):
            latest[tree, path[tree, depth]] += 1
    learned += 1
    if learned % window == 0:
        masses[learned // window % 2] = 0
    return learned


@njit(cache=True, nogil=True)
def _min_max(x: Floats, scaled: bool, low: Floats, high: Floats, row: Floats) -> None:
    for column in range(len(x)):
        width = high[column] - low[column]
        if not scaled:
            row[column] = x[column]
        elif width == 0.0:
            row[column] = 0.0
        else:
            row[column] = (x[column] - low[column]) / width


@njit(cache=True, nogil=True)
def _widen(x: Floats, low: Floats, high: Floats) -> None:
    for column in range(len(x)):
        if x[column] < low[column]:
            low[column] = x[column]
        if x[column] > high[column]:
            high[column] = x[column]


@njit(cache=True, nogil=True)
def _soft_sign(x: Floats, first: bool, mean: Floats, variance: Floats, row: Floats) -> None:
    for column in range(len(x)):
        spread = math.sqrt(variance[column])
        if first or (spread <= FLAT and x[column] == mean[column]):
            z = 0.0
        elif spread <= FLAT:
            z = math.copysign(OFF_FLAT, x[column] - mean[column])
        else:
            z = (x[column] - mean[column]) / (2.0 * spread)
        row[column] = 0.5 + 0.5 * z / (1.0 + abs(z))


@njit(cache=True, nogil=True)
def _follow(x: Floats, learned: int, mean: Floats, variance: Floats) -> None:
    weight = max(FORGETTING, 1.0 / (learned + 1))
    for column in range(len(x)):
        d = x[column] - mean[column]
        mean[column] += weight * d
        variance[column] = (1.0 - weight) * (variance[column] + weight * d * d)
