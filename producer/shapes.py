"""Known light-curve shapes: the forms, and the ones that `skim evaluate` puts into real cadences.

Fluxes are differences from the reference image, in units of a source of magnitude 20.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..schemas.errors import SkimError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Rng = np.random.Generator

GREEN = 1  # ZTF's fid of g
# Where a form falls below this share of its peak, it is over: exp(-200) and its like would only make infinities.
FAR = 200.0

#: Flux of one drawn object, float64[n] >= 0: (days since the evaluated alert float64[n], fid int64[n], flux of the
#: reference image's source float64[n], 0 where there is none).
Curve = Callable[[Array, Ints, Array], Array]


def flux(magnitude: Array | float) -> Array:
    """Flux in units of a source of magnitude 20.

    >>> flux(17.5).tolist()
    10.0
    """
    return np.asarray(10 ** (-0.4 * (np.asarray(magnitude) - 20)))


def bazin(since: Array, rise: float, fall: float) -> Array:
    """A supernova's rise and decline, days since t0, highest 1; rise < fall (Bazin et al. 2009, A&A 499, 653, eq. 1)"""
    since = np.maximum(since, -FAR * rise)
    curve = np.exp(-since / fall) / (1 + np.exp(-since / rise))
    highest = (rise / fall) ** (rise / fall) * (1 - rise / fall) ** (1 - rise / fall)
    return np.asarray(curve / highest)


def paczynski(u2: Array) -> Array:
    """Magnification by a point lens at a distance of sqrt(u2) Einstein radii (Paczynski 1986, ApJ 304, 1)."""
    return np.asarray((u2 + 2) / np.sqrt(u2 * (u2 + 4)))


def outburst(since: Array, rise: float, peak: float, slow: float, plateau: float) -> Array:
    """A dwarf nova, magnitudes above quiescence: up within `rise` days, a slow decline, 0.8 mag/day after `plateau`.

    The three phases of a (super)outburst as Warner 1995, "Cataclysmic Variable Stars", describes them.
    """
    decline = slow * np.clip(since - rise, 0, None) + 0.8 * np.clip(since - plateau, 0, None)
    return np.where(since < 0, 0.0, peak * np.clip(since / rise, 0, 1) - decline).clip(0)


def disruption(since: Array, rise: float, fallback: float) -> Array:
    """A tidal disruption, days since its peak of 1: Gaussian rise, then (1 + t / fallback)^(-5/3).

    The decline is the rate of mass that falls back (Rees 1988, Nature 333, 523; Phinney 1989), the rise as van Velzen
    et al. 2021 (ApJ 908, 4) fit it.
    """
    before = np.exp(-0.5 * (np.clip(since, None, 0) / rise).clip(-FAR, 0) ** 2)
    return np.where(since < 0, before, (1 + np.clip(since, 0, None) / fallback) ** (-5 / 3))


def flare(since: Array) -> Array:
    """A stellar flare; time since its peak of 1 in units of its full width at half maximum (the fit's own is 0.91).

    A quartic rise within one unit and a double exponential decay (Davenport et al. 2014, ApJ 797, 122, eqs. 1 and 4).
    """
    t = np.clip(since, -1, 0)
    rise = 1 + 1.941 * t - 0.175 * t**2 - 2.246 * t**3 - 1.125 * t**4
    late = np.clip(since, 0, None)
    decay = 0.6890 * np.exp(-1.600 * late) + 0.3030 * np.exp(-0.2783 * late)
    return np.where(since < -1, 0.0, np.where(since <= 0, rise, decay)).clip(0)


def _supernova(rng: Rng) -> Curve:
    peak, rise, fall = flux(rng.uniform(17.0, 19.0)), rng.uniform(3, 6), rng.uniform(18, 35)
    start, reddening = rng.uniform(-25, -6), rng.uniform(0.02, 0.05)

    def curve(days: Array, fid: Ints, star: Array) -> Array:
        since = days - start
        faded = np.where(fid == GREEN, flux(20 + reddening * np.clip(since - rise, 0, 40)), 1.0)
        return peak * bazin(since, rise, fall) * faded

    return curve


def _cv_outburst(rng: Rng) -> Curve:
    onset, rise, peak = rng.uniform(-20, -3), rng.uniform(0.5, 1.2), rng.uniform(4, 6)
    slow, plateau, quiet = rng.uniform(0.05, 0.12), rng.uniform(10, 22), flux(rng.uniform(21, 23))

    def curve(days: Array, fid: Ints, star: Array) -> Array:
        return quiet * (10 ** (0.4 * outburst(days - onset, rise, peak, slow, plateau)) - 1)

    return curve


def _microlensing(rng: Rng) -> Curve:
    closest, crossing, peak = rng.uniform(0.05, 0.5), rng.uniform(5, 30), rng.uniform(-10, 5)

    def curve(days: Array, fid: Ints, star: Array) -> Array:
        return star * (paczynski(closest**2 + ((days - peak) / crossing) ** 2) - 1)

    return curve


def _tde(rng: Rng) -> Curve:
    highest, rise, fallback = rng.uniform(17.0, 19.0), rng.uniform(5, 15), rng.uniform(20, 60)
    peak, blue = rng.uniform(-20, 5), rng.uniform(0.1, 0.35)

    def curve(days: Array, fid: Ints, star: Array) -> Array:
        colour = np.where(fid == GREEN, flux(highest - blue), flux(highest))
        return colour * disruption(days - peak, rise, fallback)

    return curve


def _flare(rng: Rng) -> Curve:
    # Begun in the minutes to hours before the evaluated alert. Hot plasma (9,000 to 10,000 K) has nearly one AB
    # magnitude in g and r, so the flare's flux is the same in both; its contrast is told for the star's r.
    width, contrast = rng.uniform(5, 60) / 1440, 10 ** rng.uniform(-0.3, 1.5)
    peak = -width * rng.uniform(0, 1.5)

    def curve(days: Array, fid: Ints, star: Array) -> Array:
        red = star[fid != GREEN]
        quiet = red[0] if len(red) else 3.3 * star[0] if len(star) else 0.0  # g - r = 1.3: an M dwarf
        return quiet * contrast * flare((days - peak) / width)

    return curve


def _artefact(rng: Rng) -> Curve:
    once = flux(rng.uniform(15.0, 19.5))

    def curve(days: Array, fid: Ints, star: Array) -> Array:
        return np.where(days == 0, once, 0.0)

    return curve


def _nothing(rng: Rng) -> Curve:
    return lambda days, fid, star: np.zeros(days.size)


@dataclass(frozen=True)
class Shape:
    """A kind of light curve to inject.

    draw: one object of the kind, with parameters from the ranges that docs/evaluation.md lists.
    place: where such a thing can be. "dark": no reference source brighter than `faintest` within 1.5 pixels, and
    hardly ever detected before; "star": on a reference source; "any".
    bogus: what is injected isn't on the sky: the real/bogus scores of that one detection say so, mostly.
    """

    draw: Callable[[Rng], Curve]
    place: Literal["dark", "star", "any"]
    faintest: float = 17.0
    bogus: bool = False


#: The control: the same cadences, nothing injected.
NOTHING = Shape(_nothing, "any")
SHAPES = {
    "supernova": Shape(_supernova, "dark"),
    "cv-outburst": Shape(_cv_outburst, "dark", faintest=19.0),
    "microlensing": Shape(_microlensing, "star"),
    "tde": Shape(_tde, "dark"),
    "flare": Shape(_flare, "star"),
    "artefact": Shape(_artefact, "any", bogus=True),
}


class UnknownShape(SkimError):
    """There is no shape of this name. Field: `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no shape {name!r}; choose from {', '.join(SHAPES)}")
        self.name = name


def shapes_of(names: str) -> dict[str, Shape]:
    """Shapes by comma-separated names, each once, in that order. Raises `UnknownShape`.

    >>> list(shapes_of("tde, flare"))
    ['tde', 'flare']
    """
    chosen = {}
    for name in (name.strip() for name in names.split(",")):
        if name not in SHAPES:
            raise UnknownShape(name)
        chosen[name] = SHAPES[name]
    return chosen
