"""The rolling ECDF: its definition in plain Python, and what it is for."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from skimstream.scoring.ecdf import RollingEcdf

Floats = NDArray[np.float64]


def reference(X: Floats, window: int, every: int) -> Floats:
    """Online ECOD, literally: counts by looking at all; the one thing taken over is numpy's logarithm of a share."""
    scores = np.full(len(X), np.nan)
    for i, row in enumerate(X.tolist()):
        before = i - i % every
        held = X[max(0, before - window) : before]
        m = len(held)
        if m == 0:
            continue
        total = 0.0
        for x, known in zip(row, held.T.tolist(), strict=True):
            lo, hi = sum(one <= x for one in known), sum(one >= x for one in known)
            term = float(-np.log((min(lo, hi) + 0.5) / (m + 1)))
            beyond = max(0.0, x - max(known)) + max(0.0, min(known) - x)
            total += term + math.log(1 + beyond / (max(known) - min(known) + 1e-12))
        scores[i] = total
    return scores


def mixed(seed: int, rows: int) -> Floats:
    """Ordinary, heavy-tailed, constant, count and binary columns, one that starts to vary late, and outliers."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 6))
    X[:, 1] = rng.standard_cauchy(size=rows) ** 5
    X[:, 2] = 7.0
    X[-40:, 2] = 8.0
    X[:, 3] = rng.poisson(2.0, rows)
    X[:, 4] = rng.random(rows) < 0.02
    X[:, 5] = rng.choice([-0.0, 0.0, 1e-320, 3e38], rows)
    return X


@pytest.mark.parametrize(("window", "every"), [(120, 30), (100, 30), (64, 64), (20, 64), (1_024, 256)])
def test_it_is_the_definition_in_plain_python(window: int, every: int) -> None:
    X = mixed(window, 700)
    scores = RollingEcdf(6, window=window, every=every).score_learn(X)
    expected = reference(X, window, every)
    np.testing.assert_array_equal(scores, expected)
    assert np.isnan(scores[:every]).all()
    assert np.isfinite(scores[every:]).all()


def test_farther_out_is_always_odder() -> None:
    ecdf = RollingEcdf(2)
    ecdf.score_learn(np.random.default_rng(0).normal(size=(1_024, 2)))
    steps = np.array([0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 1e3, 1e9, 1e38])
    for sign in (1.0, -1.0):
        scores = ecdf.copy().score_learn(np.column_stack([sign * steps, np.zeros(len(steps))]))
        assert (np.diff(scores) > 0).all()


def test_it_follows_a_stream_that_moves() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6_000, 4))
    X[3_000:] += 8.0
    scores = RollingEcdf(4).score_learn(X)
    usual = np.quantile(scores[1_500:3_000], 0.99)
    assert (scores[3_000:3_200] > usual).mean() > 0.9
    assert (scores[5_000:] > usual).mean() < 0.05
