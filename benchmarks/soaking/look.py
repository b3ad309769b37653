"""A look at a process: its memory, threads and descriptors as Linux tells them, and its histogram of latencies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

BUCKETS = "skim_end_to_end_latency_seconds_bucket"
PAGE = 4_096


@dataclass(frozen=True, slots=True)
class Look:
    """at: seconds since the start. resident: bytes. latency: events up to each bound, since the process began."""

    at: float
    resident: int
    threads: int
    descriptors: int
    latency: Mapping[float, float]

    @property
    def applied(self) -> float:
        """How many events were applied."""
        return max(self.latency.values(), default=0.0)


def look_at(at: float, pid: int, exposition: str) -> Look:
    """What Linux and its own metrics say of a process."""
    proc = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    latency = {}
    for line in exposition.splitlines():
        if line.startswith(BUCKETS):
            bound = line.partition('le="')[2].partition('"')[0]
            latency[float(bound)] = float(line.rpartition(" ")[2])
    resident = int((proc / "statm").read_text().split()[1]) * PAGE
    return Look(at, resident, int(status["Threads"]), len(list((proc / "fd").iterdir())), latency)


def slope(looks: Sequence[Look]) -> float:
    """What resident memory gains, in bytes a second, by least squares.

    >>> slope([Look(at, 1_000 + 3 * at, 1, 1, {}) for at in range(5)])
    3.0
    """
    if len(looks) < 2:
        return 0.0
    at, resident = np.array([one.at for one in looks]), np.array([float(one.resident) for one in looks])
    return round(float(np.polyfit(at - at.mean(), resident, 1)[0]), 6)


def percentile(looks: Sequence[Look], share: float, wanted: Callable[[float], bool]) -> float:
    """How long events took, of those applied in wanted intervals; in seconds, within a bucket in proportion.

    >>> looks = [Look(0, 0, 0, 0, {0.1: 0, 0.2: 0}), Look(5, 0, 0, 0, {0.1: 50, 0.2: 100})]
    >>> percentile(looks, 0.75, lambda at: True)
    0.15
    """
    counts: dict[float, float] = {}
    for before, after in pairwise(looks):
        if wanted(after.at):
            for bound, count in after.latency.items():
                counts[bound] = counts.get(bound, 0.0) + count - before.latency.get(bound, 0.0)
    bounds = sorted(counts)
    sought, lower, below = share * max(counts.values(), default=0.0), 0.0, 0.0
    for bound in bounds:
        if counts[bound] >= sought > 0:
            if bound == float("inf"):
                return lower
            return round(lower + (bound - lower) * (sought - below) / (counts[bound] - below), 6)
        lower, below = bound, counts[bound]
    return 0.0
