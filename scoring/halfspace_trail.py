"""Which features made a half-space trees' score: the steps of the walks, by the feature that each split asks.

It has to be told from the masses and the scaling *before* the event was learned. The kernel therefore records, while it
scores, which leaf every event falls into (in heap order a leaf tells its whole path) and keeps the masses of each
window that scored: a few numbers an event, where attributing every event at once would cost 40 % more time.

Robust: the score is minus the trees' mean of log2(1 + r 2^depth) at the walk's last node; a step from mass r at depth k
to a child adds -log2((1 + r_child 2^(k+1)) / (1 + r 2^k)).
River: the score is 1 - the sum of r 2^k along the walks / the largest possible. Seen from a node, the sum to come is
expected to be r 2^k at its own depth and at each depth below (masses that halve at every split), or r 2^k alone where
the walk ends; a step adds minus what it changes of that.
Both add up to the score minus what it would be if only the root were known.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .halfspace_kernel import SPARSE_SHARE

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """How the events of one call were scored; nothing that is learned later changes it.

    feature int32[T, 2^h - 1] and log2_mass (empty: mode river) are the trees' own; leaves int32[n, T], windows int64[n]
    and finished int32[w, T, 2^(h+1) - 1] are `halfspace_kernel.Record`; scores float64[n], NaN = none.
    """

    feature: Ints
    log2_mass: Floats
    n_features: int
    window_size: int
    leaves: Ints
    windows: Places
    finished: Ints
    scores: Floats

    def contributions(self, rows: Places) -> Floats:
        """float64[k, f]: what each feature adds to the scores of these rows of the call, positive = towards anomaly.

        A row's contributions add up to its score minus that of the root alone. NaN where there was no score.
        """
        found = np.zeros((len(rows), self.n_features))
        leaves, windows = self.leaves[rows], self.windows[rows]
        if self.log2_mass.size:
            add_log_steps(leaves, windows, self.finished, self.feature, self.log2_mass, self.window_size, found)
        else:
            add_mass_steps(leaves, windows, self.finished, self.feature, self.window_size, found)
        found[np.isnan(self.scores[rows])] = np.nan
        return found


@njit(cache=True, nogil=True)
def add_log_steps(
    leaves: Ints, windows: Places, finished: Ints, feature: Ints, log2_mass: Floats, window: int, found: Floats
) -> None:
    """Add to found[k, f] the mean over the trees of what each step adds to a robust score."""
    trees, height = leaves.shape[1], log2_mass.shape[1] - 1
    for i in range(len(leaves)):
        mass = finished[windows[i]]
        for tree in range(trees):
            node, depth = 0, 0
            while depth < height and mass[tree, node] >= SPARSE_SHARE * window:
                child = ((leaves[i, tree] + 1) >> (height - depth - 1)) - 1
                step = log2_mass[mass[tree, node], depth] - log2_mass[mass[tree, child], depth + 1]
                found[i, feature[tree, node]] += step / trees
                node, depth = child, depth + 1


@njit(cache=True, nogil=True)
def add_mass_steps(leaves: Ints, windows: Places, finished: Ints, feature: Ints, window: int, found: Floats) -> None:
    """Add to found[k, f] what each step adds to River's score."""
    trees, nodes = leaves.shape[1], finished.shape[2]
    largest = float(trees * window * nodes)
    height = 0
    while 2 ** (height + 1) - 1 < nodes:
        height += 1
    for i in range(len(leaves)):
        mass = finished[windows[i]]
        for tree in range(trees):
            node, depth = 0, 0
            while depth < height and mass[tree, node] >= SPARSE_SHARE * window:
                child = ((leaves[i, tree] + 1) >> (height - depth - 1)) - 1
                ends = depth + 1 == height or mass[tree, child] < SPARSE_SHARE * window
                expected = int(mass[tree, child]) * (1 << (depth + 1)) * (1 if ends else height - depth)
                before = int(mass[tree, node]) * (1 << depth) * (height - depth)
                found[i, feature[tree, node]] -= (expected - before) / largest
                node, depth = child, depth + 1
