"""Counting in sorted numbers, by halving: without a branch that the processor could guess wrong.

Indices are unsigned, as numba would test signed ones for negative values.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def count_below(ordered: Floats, held: int, x: float) -> int:
    """How many of the first `held` numbers, ascending and without NaN, are < x.

    >>> count_below(np.array([1.0, 2.0, 2.0, 3.0]), 4, 2.0), count_up_to(np.array([1.0, 2.0, 2.0, 3.0]), 4, 2.0)
    (1, 3)
    """
    if held == 0:
        return 0
    base, left_over = np.uint64(0), np.uint64(held)
    while left_over > np.uint64(1):
        half = left_over >> np.uint64(1)
        base += half * np.uint64(ordered[base + half - np.uint64(1)] < x)
        left_over -= half
    return int(np.int64(base) + np.int64(ordered[base] < x))


@njit(cache=True, nogil=True)
def count_up_to(ordered: Floats, held: int, x: float) -> int:
    """How many of the first `held` numbers, ascending and without NaN, are <= x."""
    if held == 0:
        return 0
    base, left_over = np.uint64(0), np.uint64(held)
    while left_over > np.uint64(1):
        half = left_over >> np.uint64(1)
        base += half * np.uint64(ordered[base + half - np.uint64(1)] <= x)
        left_over -= half
    return int(np.int64(base) + np.int64(ordered[base] <= x))
