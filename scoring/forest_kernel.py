"""The walk through a forest's trees, compiled: for each row, the values of the leaves it falls into, in tree order.

What the arrays mean is told in forest.py, which also proves, before any array gets here, all that these loops rely on:
`left[node] + 1`, `roots` and `feature` are within bounds, a child lies behind its parent, a leaf's left child is itself
and its threshold infinite, and no tree is deeper than its `depths`. So nothing is checked again.

Going one step too far in a leaf changes nothing. Hence all walks of a group take the same number of steps, without a
branch that the processor could guess wrong, and the group's memory accesses overlap: that is where the speed is from.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Rows that go through one tree together: 256 x 18 features x 4 bytes = 18 KB, which leaves the other half of a small
# level-1 cache (32 KB) to the tree.
ROW_BLOCK = 256
# Trees that one row goes through together. All take as many steps as the deepest, so a large group wastes steps, while
# a small one has more overhead.
TREE_GROUP = 32
# From here on blocks of rows are faster than groups of trees.
FEW_ROWS = 8


@njit(cache=True, nogil=True)
def survey(x: NDArray[np.float32]) -> tuple[bool, bool]:
    """Whether float32[n, f] holds a NaN, and whether it holds an infinity."""
    missing = False
    infinite = False
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            missing |= np.isnan(x[row, column])
            infinite |= np.isinf(x[row, column])
    return missing, infinite


@njit(cache=True, nogil=True)
def tree_depths(inner_before: NDArray[np.int32], roots: NDArray[np.int32], depths: NDArray[np.uint32]) -> int:
    """Fill depths[T], level by level, and return their sum; inner_before[i] counts the inner nodes before node i."""
    total = 0
    for tree in range(roots.size):
        low, high = roots[tree], roots[tree] + 1  # the nodes of a level
        while inner_before[high] > inner_before[low]:
            low, high = high, high + 2 * (inner_before[high] - inner_before[low])
            depths[tree] += np.uint32(1)
        total += depths[tree]
    return total


@njit(cache=True, nogil=True)
def add_values(
    threshold: NDArray[np.float32],
    feature: NDArray[np.uint16],
    left: NDArray[np.uint32],
    missing_left: NDArray[np.bool_],
    value: NDArray[np.float64],
    roots: NDArray[np.uint32],
    depths: NDArray[np.uint32],
    x: NDArray[np.float32],
    missing: bool,
    total: NDArray[np.float64],
) -> None:
    """Add to total[n, k] every tree's value[., k] for each row of x[n, f]; `missing` says whether x holds a NaN."""
    if x.shape[0] < FEW_ROWS:
        _groups_of_trees(threshold, feature, left, value, roots, depths, x, total)
    else:
        _blocks_of_rows(threshold, feature, left, value, roots, depths, x, total)
    if missing:  # to the loops above a NaN is a number that goes left; do its rows again
        _rows_with_nan(threshold, feature, left, missing_left, value, roots, x, total)


@njit(cache=True, nogil=True)
def _step(threshold, feature, left, x, row, node):  # type: ignore[no-untyped-def]
    """The child that the row goes to. (With signed indices numba would test for negative ones: a third more time.)"""
    node = np.uint64(node)
    return left[node] + np.uint32(x[np.uint64(row), np.uint64(feature[node])] > threshold[node])


@njit(cache=True, nogil=True)
def _groups_of_trees(threshold, feature, left, value, roots, depths, x, total):  # type: ignore[no-untyped-def]
    """Row by row, TREE_GROUP trees at a time."""
    at = np.empty(TREE_GROUP, np.uint32)
    for row in range(x.shape[0]):
        for first in range(0, roots.size, TREE_GROUP):
            trees = min(TREE_GROUP, roots.size - first)
            steps = np.uint32(0)
            for i in range(trees):
                at[i] = roots[first + i]
                steps = max(steps, depths[first + i])
            for _ in range(steps):
                for i in range(trees):
                    at[i] = _step(threshold, feature, left, x, row, at[i])
            for i in range(trees):
                for k in range(value.shape[1]):
                    total[row, k] += value[at[i], k]


@njit(cache=True, nogil=True)
def _blocks_of_rows(threshold, feature, left, value, roots, depths, x, total):  # type: ignore[no-untyped-def]
    """Tree by tree, ROW_BLOCK rows at a time."""
    at = np.empty(ROW_BLOCK, np.uint32)
    for first in range(0, x.shape[0], ROW_BLOCK):
        rows = min(ROW_BLOCK, x.shape[0] - first)
        for tree in range(roots.size):
            at[:rows] = roots[tree]
            for _ in range(depths[tree]):
                for i in range(rows):
                    at[i] = _step(threshold, feature, left, x, first + i, at[i])
            for i in range(rows):
                for k in range(value.shape[1]):
                    total[first + i, k] += value[at[i], k]


@njit(cache=True, nogil=True)
def _rows_with_nan(threshold, feature, left, missing_left, value, roots, x, total):  # type: ignore[no-untyped-def]
    """The rows that hold a NaN, from zero, one tree after another; NaN goes where training sent it."""
    for row in range(x.shape[0]):
        if not np.isnan(x[row]).any():
            continue
        total[row] = 0.0
        for root in roots:
            node = root
            while left[node] != node:
                cell = x[row, feature[node]]
                right = not missing_left[node] if np.isnan(cell) else cell > threshold[node]
                node = np.uint32(left[node] + np.uint32(right))
            for k in range(value.shape[1]):
                total[row, k] += value[node, k]
