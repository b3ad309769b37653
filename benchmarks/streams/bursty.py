"""A made stream like KDD's HTTP connections: few features, many ties, and anomalies that come in long bursts.

Ordinary rows lie near a few clusters of logarithms (how long, bytes sent, bytes received), with rare outliers of
their own; which cluster is busy changes slowly. An attack is a burst of nearly alike rows, longer than the windows of
whatever learns from the stream, with a few ordinary ones between them.
"""

import numpy as np

from .labelled import Floats, Labelled, labelled

CALM = 0.2  # no burst begins before this share of the stream
LARGEST_SHARE, LONGEST, SHORTEST = 0.05, 3_000, 1_000


def bursty(seed: int, events: int = 60_000) -> Labelled:
    """The stream `bursty`; a pure function of its arguments."""
    rng = np.random.default_rng([seed, 2])
    columns = int(rng.integers(3, 6))
    matrix, centres = _ordinary(rng, events, columns)
    truth = np.zeros(events, np.bool_)
    lengths = _lengths(rng, events)
    # One burst a stretch of the stream, so that they don't overlap.
    edges = np.linspace(CALM * events, events, len(lengths) + 1)
    for length, first, last in zip(lengths, edges[:-1], edges[1:], strict=True):
        start = int(rng.uniform(first, last - 1.2 * length))
        purity = rng.uniform(0.9, 1.0)
        rows = start + np.flatnonzero(rng.random(int(length / purity)) < purity)
        matrix[rows] = _attack(rng, centres, len(rows))
        truth[rows] = True
    return labelled("bursty", matrix, truth, 0.15)


def _lengths(rng: np.random.Generator, events: int) -> list[int]:
    lengths: list[int] = []
    for _ in range(int(rng.integers(1, 4))):
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        if not lengths or sum(lengths) + length <= LARGEST_SHARE * events:
            lengths.append(length)
    return lengths


def _ordinary(rng: np.random.Generator, events: int, columns: int) -> tuple[Floats, Floats]:
    """Rows float64[n, f], and the clusters' centres float64[k, f]."""
    clusters = int(rng.integers(3, 8))
    centres = rng.uniform(3, 9, size=(clusters, columns))
    widths = rng.uniform(0.05, 0.6, size=(clusters, columns))
    weights = rng.dirichlet(np.full(clusters, 1.5))
    wander = rng.normal(size=(events // 500 + 2, clusters)).cumsum(axis=0) * rng.uniform(0.03, 0.1)
    chances = weights * np.exp(wander[np.arange(events) // 500])
    chances = (chances / chances.sum(axis=1, keepdims=True)).cumsum(axis=1)
    which = (rng.random((events, 1)) > chances[:, :-1]).sum(axis=1)
    rows = centres[which] + widths[which] * rng.standard_t(4, size=(events, columns))
    outliers = rng.random(events) < rng.uniform(0.001, 0.004)
    rows[outliers] = rng.uniform(0, 12, size=(int(outliers.sum()), columns))
    # Requests repeat: whole bytes, and a first feature that is hardly ever anything but its lowest value.
    rows = np.log(np.round(np.exp(np.clip(rows, 0, 16))) + 0.1)
    rows[rng.random(events) < 0.9, 0] = np.log(0.1)
    return rows, centres


def _attack(rng: np.random.Generator, centres: Floats, rows: int) -> Floats:
    """Nearly alike rows; in one or two features beyond every cluster, elsewhere like any."""
    columns = centres.shape[1]
    place = centres[int(rng.integers(len(centres)))].copy()
    odd = rng.choice(np.arange(1, columns), size=int(rng.integers(1, 3)), replace=False)
    place[odd] = centres[:, odd].max(axis=0) + rng.uniform(3, 6, len(odd))
    found: Floats = np.log(np.round(np.exp(place + rng.uniform(0.01, 0.1) * rng.normal(size=(rows, columns)))) + 0.1)
    found[:, 0] = np.log(0.1)
    return found
