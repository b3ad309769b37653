"""Figures of an evaluation, from plain arrays: ranks within a night, shares found, and how sure they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

RESAMPLES = 1_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the percentile bootstrap's 95 % interval. NaN where there is nothing to take a mean of."""

    mean: float
    low: float
    high: float


def bootstrap(values: Floats, clusters: Ints, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of float64[n] and its interval, from drawing whole clusters (int64[n]) with replacement.

    What shares a cluster (copies of one cadence, objects of one night) isn't independent, so it is drawn together
    (Field & Welsh 2007, J. R. Stat. Soc. B 69, 369). A single cluster tells nothing of its spread: 0 width.

    >>> bootstrap(np.array([1.0, 1.0, 0.0, 0.0]), np.array([7, 7, 8, 9])).mean
    0.5
    """
    if len(values) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    _, place = np.unique(clusters, return_inverse=True)
    totals, sizes = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(sizes), (resamples, len(sizes)))
    means = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def best_scores(scores: Floats, owners: Ints) -> tuple[Ints, Floats]:
    """The objects with a finite score (int64[m], ascending), and the highest of each: a night's list has one row each.

    >>> ids, best = best_scores(np.array([0.5, np.nan, 0.9, 0.7]), np.array([3, 1, 3, 2]))
    >>> ids.tolist(), best.tolist()
    ([2, 3], [0.7, 0.9])
    """
    scored = np.isfinite(scores)
    ids, place = np.unique(owners[scored], return_inverse=True)
    best = np.full(len(ids), -np.inf)
    np.maximum.at(best, place, scores[scored])
    return ids, best


def ranks(scores: Floats, owners: Ints, wanted: Ints) -> Floats:
    """Rank of each wanted object among all of a night by its highest score, float64[k]: 1 = most anomalous.

    Ties count against the wanted one. Infinite for an object that has no score.

    >>> ranks(np.array([0.5, 0.9, 0.9, 0.2]), np.array([1, 2, 3, 1]), np.array([2, 1, 4])).tolist()
    [2.0, 3.0, inf]
    """
    ids, best = best_scores(scores, owners)
    ordered = np.sort(best)
    place = np.searchsorted(ids, wanted)
    known = np.isin(wanted, ids)
    found = np.full(len(wanted), np.inf)
    found[known] = len(best) - np.searchsorted(ordered, best[place[known]], side="left")
    return found


def top(scores: Floats, owners: Ints, n: int) -> Ints:
    """The n objects with the highest scores, int64[<= n]; ties go to the smaller id.

    >>> top(np.array([0.5, 0.9, 0.7, np.nan]), np.array([1, 2, 1, 3]), 2).tolist()
    [2, 1]
    """
    ids, best = best_scores(scores, owners)
    return ids[np.argsort(-best, kind="stable")[:n]]


def entry(scores: Floats, n: int) -> float:
    """What a score must exceed to be among the n highest, given one score an object; -inf while there are fewer.

    >>> entry(np.array([0.1, 0.5, 0.9]), 2), entry(np.array([0.1]), 2)
    (0.5, -inf)
    """
    finite = scores[np.isfinite(scores)]
    return float(np.sort(finite)[-n]) if len(finite) >= n else float("-inf")


def first_hits(points: Ints, hits: Flags, owners: Ints, wanted: Ints) -> Floats:
    """How many points each wanted object had when first hit, float64[k]: over its alerts (points, hit, owner).

    Infinite for an object that is never hit.

    >>> alerts = np.array([2, 4, 6, 3]), np.array([False, True, True, False]), np.array([1, 1, 1, 2])
    >>> first_hits(*alerts, np.array([1, 2])).tolist()
    [4.0, inf]
    """
    first = np.full(len(wanted), np.inf)
    order = np.argsort(wanted, kind="stable")
    place = order[np.searchsorted(wanted, owners[hits], sorter=order)] if len(wanted) else order
    np.minimum.at(first, place, points[hits].astype(np.float64))
    return first
