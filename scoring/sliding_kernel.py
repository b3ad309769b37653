"""Isolation trees of the latest rows (Liu, Ting & Zhou 2008), laid out for the walk of `forest_kernel`.

A tree takes `samples` rows at random, without replacement. A node of two rows or more above the height limit is split
at a feature drawn from those that vary in it, at a threshold drawn between its least and greatest value; in a leaf of n
rows a walk ends after its depth + c(n) steps, c(n) being what the tree would need to tell n rows apart.

Random numbers are splitmix64's (Steele, Lea & Flood 2014): number k of a tree is a hash of (seed, refit, tree, k). No
state is carried from refit to refit, so that a forest can be made again from its rows.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Rows = NDArray[np.float32]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S27, S30, S31, S32 = (np.uint64(bits) for bits in (11, 27, 30, 31, 32))


@njit(cache=True, nogil=True)
def mixed(z):  # type: ignore[no-untyped-def]
    """splitmix64's finaliser: uint64 → uint64, one to one, every bit depending on all."""
    z = (z ^ (z >> S30)) * MIX_1
    z = (z ^ (z >> S27)) * MIX_2
    return z ^ (z >> S31)


@njit(cache=True, nogil=True)
def below(random, n):  # type: ignore[no-untyped-def]
    """A whole number in 0..n-1 from uint64 random bits, for n < 2^32 (uneven by n / 2^32 at most)."""
    return np.int64(((random >> S32) * np.uint64(n)) >> S32)


@njit(cache=True, nogil=True)
def fit(  # type: ignore[no-untyped-def]
    rows: Rows, seed, refit, samples, height, average, threshold, feature, left, value, roots, depths
):
    """Grow len(roots) trees on float32[m, f], finite, m >= samples; returns how many nodes they have.

    Filled in: threshold float32, feature uint16, left uint32 and value float64[., 1] by node, as `forest.py` has them;
    there is room for 2 samples - 1 nodes a tree. `average` float64[samples + 1] is c(n).
    """
    # Unsigned throughout: with signed indices numba would test for negative ones, half as much time again.
    order, spare = np.arange(len(rows)).astype(np.uint32), np.empty(samples, np.uint32)
    columns = np.arange(rows.shape[1]).astype(np.uint64)
    first, behind = np.empty(2 * samples, np.uint64), np.empty(2 * samples, np.uint64)
    level = np.empty(2 * samples, np.int64)
    free = 0
    for tree in range(len(roots)):
        key = mixed(mixed(mixed(np.uint64(seed) + GOLDEN) + np.uint64(refit)) + np.uint64(tree))
        for i in range(samples):
            key += GOLDEN
            other = i + below(mixed(key), len(rows) - i)
            order[i], order[other] = order[other], order[i]
        root = free
        roots[tree] = root
        first[0], behind[0], level[0] = 0, samples, 0
        free += 1
        node = root
        while node < free:
            start, stop, depth = first[node - root], behind[node - root], level[node - root]
            untried = len(columns) if stop - start > 1 and depth < height else 0
            column, low, high = columns[0], np.float32(0.0), np.float32(0.0)
            while untried > 0 and not low < high:
                key += GOLDEN
                place = below(mixed(key), untried)
                column = columns[place]
                low, high = _range(rows, order, start, stop, column)
                untried -= 1
                columns[place], columns[untried] = columns[untried], column
            value[node, 0] = depth + average[stop - start]
            if low < high:
                key += GOLDEN
                share = np.float64(mixed(key) >> S11) * 2.0**-53
                cut = np.float32(np.float64(low) + share * (np.float64(high) - np.float64(low)))
                if not cut < high:  # rounded up to the greatest value: it would part nothing
                    cut = low
                middle = _part(rows, order, start, stop, column, cut, spare)
                threshold[node], feature[node], left[node] = cut, column, free
                child = free - root
                first[child], behind[child], level[child] = start, middle, depth + 1
                first[child + 1], behind[child + 1], level[child + 1] = middle, stop, depth + 1
                free += 2
            else:
                threshold[node], feature[node], left[node] = np.inf, 0, node
            depths[tree] = depth  # breadth first: the last node is one of the deepest
            node += 1
    return free


@njit(cache=True, nogil=True)
def _range(rows, order, start, stop, column):  # type: ignore[no-untyped-def]
    """The least and the greatest value that rows order[start:stop] have in a column."""
    low = high = rows[order[start], column]
    for i in range(start, stop):
        x = rows[order[i], column]
        low = x if x < low else low
        high = x if x > high else high
    return low, high


@njit(cache=True, nogil=True)
def _part(rows, order, start, stop, column, cut, spare):  # type: ignore[no-untyped-def]
    """Put the rows above `cut` last, each side in its order; returns where they begin. Free of branches to guess."""
    at, above = start, np.uint64(0)
    for i in range(start, stop):
        row = order[i]
        right = np.uint64(rows[row, column] > cut)
        order[at] = spare[above] = row
        at += np.uint64(1) - right
        above += right
    for i in range(above):
        order[at + i] = spare[i]
    return at


def expected_paths(samples: int) -> NDArray[np.float64]:
    """c(n) for n = 0 to `samples`: 2 H(n - 1) - 2 (n - 1) / n, with the harmonic number added up.

    The paper estimates H(i) by ln(i) + 0.577; the sum itself is exact, and the same on all machines.

    >>> expected_paths(256)[[1, 2, 256]].round(3).tolist()
    [0.0, 1.0, 10.249]
    """
    n = np.arange(2, samples + 1)
    harmonic = np.cumsum(1 / (n - 1))
    return np.concatenate([np.zeros(2), 2 * harmonic - 2 * (n - 1) / n])[: samples + 1]


def height_limit(samples: int) -> int:
    """ceil(log2(samples)), about the mean depth: deeper rows are ordinary, however deep."""
    return math.ceil(math.log2(samples))
