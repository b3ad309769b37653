"""Which features brought a row to its leaves: the steps of the walk, added up by the feature that each split asks.

The arrays are forest.py's, which proves all that these loops rely on, and says what a node's value is. Only for rows
that people get to see: one node at a time, without the tricks of forest_kernel.py.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def add_steps(
    threshold: NDArray[np.float32],
    feature: NDArray[np.uint16],
    left: NDArray[np.uint32],
    missing_left: NDArray[np.bool_],
    value: NDArray[np.float64],
    roots: NDArray[np.uint32],
    x: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    """Add value[child, -1] - value[parent, -1] of each step to total[n, f]; NaN goes where scoring lets it go."""
    answer = value.shape[1] - 1
    for row in range(x.shape[0]):
        for root in roots:
            node = root
            while left[node] != node:
                column = feature[node]
                cell = x[row, column]
                right = not missing_left[node] if np.isnan(cell) else cell > threshold[node]
                child = np.uint32(left[node] + np.uint32(right))
                total[row, column] += value[child, answer] - value[node, answer]
                node = child


@njit(cache=True, nogil=True)
def mean_of_leaves(left: NDArray[np.uint32], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """value float64[nodes, 1] with that of each inner node replaced by the mean of the leaves below it.

    For forests that don't tell how many training rows passed a node. Each leaf counts the same: in isolation trees a
    shallow leaf holds a single row, and would be overrated if each branch counted half.
    """
    leaves = np.ones(left.size, np.int64)
    total = value.copy()
    for node in range(left.size - 1, -1, -1):  # children lie behind their parent
        child = left[node]
        if child != node:
            leaves[node] = leaves[child] + leaves[child + 1]
            total[node] = total[child] + total[child + 1]
    return total / leaves.reshape(-1, 1)
