"""A made behavioural stream whose ordinary events move: slowly all the time, and at once at 60 % of it.

18 features: amounts and times (heavy tails), counts, flags and scores, tied together by hidden factors. How many of
each, how strong the ties, what drifts how far and in what way, what breaks: drawn from the seed.
"""

import numpy as np

from .labelled import Floats, Labelled, labelled

FEATURES, BREAK_AT, ANOMALIES = 18, 0.6, 0.01
#: Spike: a few features far off. Surge: most features up together. Stranger: follows no factor, and spreads wider.
KINDS = ("spike", "surge", "stranger")


def drifting(seed: int, events: int = 40_000) -> Labelled:
    """The stream `drift`; a pure function of its arguments."""
    rng = np.random.default_rng([seed, 1])
    shapes = rng.choice(4, size=FEATURES, p=[0.4, 0.3, 0.1, 0.2])
    factors = rng.normal(size=(events, int(rng.integers(2, 5))))
    ties = rng.normal(size=(factors.shape[1], FEATURES)) * rng.uniform(0.3, 0.8)
    latent = factors @ ties + rng.normal(size=(events, FEATURES))
    latent /= latent.std(axis=0)
    truth = rng.random(events) < ANOMALIES
    for row in np.flatnonzero(truth).tolist():
        latent[row] = _anomalous(rng, str(rng.choice(KINDS)), latent[row])
    shift, width = _motion(rng, events)
    return labelled("drift", _observed(rng, shapes, shift + width * latent), truth, 0.15)


def _anomalous(rng: np.random.Generator, kind: str, row: Floats) -> Floats:
    if kind == "stranger":
        return rng.normal(size=FEATURES) * rng.uniform(1.4, 2.2)
    changed = row.copy()
    few = kind == "spike"
    columns = rng.choice(FEATURES, size=int(rng.integers(2, 6) if few else rng.integers(9, 16)), replace=False)
    changed[columns] += (
        rng.choice([-1, 1, 1], len(columns)) * rng.uniform(2, 5, len(columns)) if few else rng.uniform(1, 2.5)
    )
    return changed


def _motion(rng: np.random.Generator, events: int) -> tuple[Floats, Floats]:
    """Where the ordinary is, and how wide, float64[n, f] each, in units of its own first width."""
    time = np.linspace(0, 1, events)[:, None]
    straight = time * rng.normal(size=FEATURES)
    waves = np.sin(2 * np.pi * (rng.uniform(0.5, 3, FEATURES) * time + rng.random(FEATURES)))
    wander = rng.normal(size=(events, FEATURES)).cumsum(axis=0) / np.sqrt(events)
    slow = rng.uniform(0.5, 1.5) * (straight + 0.5 * waves + wander) * (rng.random(FEATURES) < 0.6)
    broken = (time >= BREAK_AT) & (rng.random(FEATURES) < rng.uniform(0.4, 0.8))
    jump = rng.uniform(1.5, 3.5, FEATURES) * rng.choice([-1, 1], FEATURES)
    return slow + broken * jump, np.where(broken, rng.uniform(0.6, 1.8, FEATURES), 1.0)


def _observed(rng: np.random.Generator, shapes: "np.ndarray[tuple[int], np.dtype[np.int64]]", latent: Floats) -> Floats:
    """Heavy tails, counts, flags, or the value itself."""
    heavy = np.exp(0.8 * latent)
    counts = rng.poisson(np.exp(np.minimum(0.7 * latent + 1.0, 14.0)))
    return np.select([shapes == 0, shapes == 1, shapes == 2], [heavy, counts, latent > 1.5], latent).astype(np.float64)
