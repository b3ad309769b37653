"""Behavioural events as arrays."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skimstream.scoring.features.behaviour import CATEGORIES, NUMBERS

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
HOUR, DAY = 3600.0, 86_400.0


class Events(NamedTuple):
    user: NDArray[np.uint64]
    time: NDArray[np.float64]
    numbers: NDArray[np.float64]
    categories: NDArray[np.uint64]

    def part(self, start: int, stop: int | None = None) -> "Events":
        rows = slice(start, stop)
        return Events(self.user[rows], self.time[rows], self.numbers[rows], self.categories[rows])


def events(user: Any, time: Any, *, categories: dict[str, Any] | None = None, **numbers: Any) -> Events:
    """Events of these users at these times with only these values; everything else is null."""
    users = np.asarray(user, np.uint64)
    matrix, hashes = np.full((len(users), len(NUMBERS)), math.nan), np.zeros((len(users), len(CATEGORIES)), np.uint64)
    for name, values in numbers.items():
        matrix[:, NUMBERS.index(name)] = values
    for name, values in (categories or {}).items():
        hashes[:, CATEGORIES.index(name)] = values
    return Events(users, np.broadcast_to(np.asarray(time, np.float64), users.shape).copy(), matrix, hashes)


def random_events(n: int, users: int, seed: int) -> Events:
    """Repeated users, nulls, late events, a few wild values."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users + 1, n).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    time = NOON + np.cumsum(rng.exponential(600, n)) + rng.choice([0, -5 * HOUR, 3 * DAY], n, p=[0.9, 0.08, 0.02])
    numbers = rng.exponential(50, (n, len(NUMBERS))).round(2)
    numbers[rng.random(numbers.shape) < 0.1] = math.nan
    numbers[rng.random(numbers.shape) < 0.01] = 1e9
    numbers[rng.random(numbers.shape) < 0.001] = math.inf
    return Events(user, time, numbers, rng.integers(0, 12, (n, len(CATEGORIES))).astype(np.uint64))
