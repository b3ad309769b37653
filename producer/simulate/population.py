"""The ordinary sky: what a survey's alerts are made of on any night."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..inject import Shape
from ..shapes import Array, Rng, bazin, flux
from .cadence import GREEN, Field


@dataclass(frozen=True)
class Source:
    """A source as one field's visits would see it without noise.

    difference: flux minus the reference image's at each visit (flux 1 = mag 20).  residual: extra relative noise of
    the subtraction.  reference: (g, r) magnitudes of the nearest reference source, at `distance` pixels.
    starness: 1 = the catalogue calls it a star.  old: detected before this month.  moving: solar system object,
    of `predicted` magnitude.  real: False for artefacts, which get low real/bogus scores.
    """

    difference: Array
    reference: tuple[float, float]
    distance: float
    starness: float
    residual: float = 0.0
    old: bool = False
    moving: bool = False
    real: bool = True
    predicted: float = -999.0


def _varying(rng: Rng, visits: Field, quiet: float, brighter: Array, colour: float, reference: float = 0.0) -> Source:
    """A star of magnitude `quiet` in r: `brighter` mag at each visit, `reference` mag when the reference was made."""
    magnitude = np.where(visits.fid == GREEN, quiet + colour, quiet)
    difference = flux(magnitude - brighter) - flux(magnitude - reference)
    pair = (quiet + colour - reference, quiet - reference)
    return Source(difference, pair, float(rng.rayleigh(0.25)), rng.uniform(0.85, 1), residual=0.02, old=True)


def _unhosted(rng: Rng) -> tuple[tuple[float, float], float, float]:
    """Reference magnitudes, distance and starness of a source that merely happens to be the nearest."""
    nearest = rng.uniform(18, 22.5)
    return (nearest + rng.normal(0.7, 0.3), nearest), float(1.8 + rng.gamma(2, 3)), float(rng.uniform(0, 1))


def rr_lyrae(rng: Rng, visits: Field) -> Source:
    """Pulsating star: half a day, steep rise, slow decline, larger in g."""
    phase = (visits.jd / rng.uniform(0.4, 0.7) + rng.uniform()) % 1
    wave = np.where(phase < 0.15, phase / 0.15, 1 - (phase - 0.15) / 0.85) - 0.5
    amplitude = rng.uniform(0.5, 1.0) * np.where(visits.fid == GREEN, 1.3, 1.0)
    return _varying(rng, visits, rng.uniform(14.5, 19), amplitude * wave, rng.normal(0.25, 0.08))


def eclipsing(rng: Rng, visits: Field) -> Source:
    """Eclipsing binary: two eclipses a period, unequal, out of eclipse nearly constant."""
    phase = (visits.jd / 10 ** rng.uniform(-0.5, 0.9) + rng.uniform()) % 1
    width, depth = rng.uniform(0.04, 0.1), rng.uniform(0.3, 1.0)
    first = np.exp(-((np.abs((phase + 0.5) % 1 - 0.5) / width) ** 2))
    second = np.exp(-(((phase - 0.5) / width) ** 2)) * rng.uniform(0.2, 0.9)
    return _varying(rng, visits, rng.uniform(13.5, 18), -depth * (first + second), rng.normal(0.5, 0.2))


def long_period(rng: Rng, visits: Field) -> Source:
    """Red giant: months, up to 1.6 magnitudes; the reference was made at some other phase."""
    turns, start = visits.jd / rng.uniform(90, 450), rng.uniform()
    amplitude = rng.uniform(0.15, 0.8)
    brighter = amplitude * np.sin(2 * np.pi * (turns + start))
    reference = amplitude * np.sin(2 * np.pi * rng.uniform())
    return _varying(rng, visits, rng.uniform(13.5, 18), brighter, rng.normal(1.6, 0.3), reference)


def agn(rng: Rng, visits: Field) -> Source:
    """Active galaxy: a damped random walk (Kelly et al. 2009), exact on the visits' times."""
    tau, sigma = 10 ** rng.uniform(1.6, 2.6), rng.uniform(0.08, 0.3)
    kept = np.exp(-np.diff(visits.jd, prepend=visits.jd[0] - 1e4) / tau)
    steps = sigma * np.sqrt(1 - kept**2) * rng.standard_normal(visits.jd.size)
    walk, value = np.empty(visits.jd.size), 0.0
    for i, (keep, step) in enumerate(zip(kept.tolist(), steps.tolist(), strict=True)):
        walk[i] = value = keep * value + step
    source = _varying(rng, visits, rng.uniform(16.5, 19.5), walk, rng.normal(0.3, 0.15), sigma * rng.standard_normal())
    return Source(source.difference, source.reference, source.distance, rng.uniform(0, 0.9), residual=0.02, old=True)


def supernova(rng: Rng, visits: Field) -> Source:
    """Supernova: weeks of rise and decline (the form of Bazin et al. 2009), near a galaxy."""
    peak, fall, rise = rng.uniform(17.2, 19.9), rng.uniform(18, 45), rng.uniform(3, 6)
    since = visits.jd - visits.jd[visits.first_tonight] - rng.uniform(-40, 4)
    reddening = np.where(visits.fid == GREEN, 0.02 * np.clip(since, 0, 40), 0.0)
    host = rng.uniform(15.5, 21)
    difference = bazin(since, rise, fall) * flux(peak + reddening)
    return Source(difference, (host + rng.normal(0.7, 0.2), host), rng.gamma(1.5, 2.5), rng.uniform(0, 0.3))


def asteroid(rng: Rng, visits: Field) -> Source:
    """Solar system object: at this place for one exposure, sometimes for two that follow each other."""
    difference = np.zeros(visits.jd.size)
    first = int(rng.integers(visits.first_tonight, visits.jd.size))
    magnitude = rng.uniform(16.5, 20.3)
    difference[first : first + int(rng.integers(1, 3))] = flux(magnitude)
    reference, distance, starness = _unhosted(rng)
    predicted = magnitude + rng.normal(0, 0.2)
    return Source(difference, reference, distance, starness, moving=True, predicted=predicted)


def artefact(rng: Rng, visits: Field) -> Source:
    """Cosmic ray, ghost, bad subtraction: one detection tonight, seldom one before."""
    difference = np.zeros(visits.jd.size)
    difference[rng.integers(visits.first_tonight, visits.jd.size)] = rng.choice([-1, 1]) * flux(rng.uniform(16, 19.8))
    if rng.random() < 0.3:
        difference[rng.integers(0, visits.first_tonight)] = flux(rng.uniform(17, 19.8))
    reference, distance, starness = _unhosted(rng)
    return Source(difference, reference, distance, starness, real=False)


def noisy_star(rng: Rng, visits: Field) -> Source:
    """A constant bright star that subtracts badly now and then, up or down."""
    star = rng.uniform(12.5, 16)
    residual = 0.004 * rng.standard_t(2.5, visits.jd.size)
    pair = (star + rng.normal(0.6, 0.2), star)
    difference = residual * flux(np.where(visits.fid == GREEN, pair[0], star))
    return Source(difference, pair, float(rng.rayleigh(0.3)), rng.uniform(0.85, 1), residual=0.001, old=True)


def anomalous(rng: Rng, visits: Field, shape: Shape) -> Source:
    """A quiet source with an injected shape."""
    days = visits.jd - visits.jd[visits.first_tonight]
    quiet = rng.uniform(shape.brightest, shape.faintest)
    source = _varying(rng, visits, quiet, shape.brighten(rng, days), rng.normal(0.3, 0.2))
    if shape.hosted:
        return source
    reference, distance, starness = _unhosted(rng)
    return Source(source.difference, reference, distance, starness)


# Shares of the objects that alert in a night.
ORDINARY: dict[Callable[[Rng, Field], Source], float] = {
    rr_lyrae: 0.11,
    eclipsing: 0.12,
    long_period: 0.12,
    agn: 0.15,
    supernova: 0.02,
    asteroid: 0.11,
    artefact: 0.14,
    noisy_star: 0.23,
}
