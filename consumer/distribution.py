"""How a night's scores are distributed: events by hundredths of the frozen part's score, all partitions together.

The frozen part's, as only its scores mean the same in every night; a percentile's median is a half by construction.
"""

from collections import Counter
from typing import Any

import numpy as np
import redis

from .board import key
from .streams.base import Floats, Ints

# No forest's score is beyond ±1; whatever is, counts as this.
FARTHEST = 10_000


def counts_of(nights: Ints, frozen: Floats) -> dict[int, dict[int, int]]:
    """By night, how many events have which hundredths of a score; no score (NaN) isn't counted.

    >>> counts_of(np.array([7, 7, 7, 8]), np.array([0.421, 0.424, np.nan, 0.5]))
    {7: {42: 2}, 8: {50: 1}}
    """
    scored = ~np.isnan(frozen)
    hundredths = np.clip(np.rint(frozen[scored] * 100), -FARTHEST, FARTHEST).astype(np.int64)
    found: dict[int, dict[int, int]] = {}
    for (night, place), many in Counter(zip(nights[scored].tolist(), hundredths.tolist(), strict=True)).items():
        found.setdefault(night, {})[place] = many
    return found


def read_counts(client: redis.Redis, stream: str, night: str) -> dict[float, int]:
    """A night's events by score, to a hundredth, lowest first; empty if there is no such night."""
    stored: Any = client.hgetall(key(stream, "scores", night))
    return {place / 100: count for place, count in sorted((int(name), int(count)) for name, count in stored.items())}


def median(counts: dict[float, int]) -> float | None:
    """The lower median, to a hundredth.

    >>> median({0.4: 3, 0.5: 2, 0.9: 1})
    0.4
    """
    half, seen = (sum(counts.values()) + 1) // 2, 0
    for score, count in counts.items():
        seen += count
        if seen >= half:
            return score
    return None
