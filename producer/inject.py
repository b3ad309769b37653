"""The known anomalies that the simulators mix in: light-curve shapes and kinds of odd sessions.

What was injected is told by `Simulated.truth` and the side topic, never by the record.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .shapes import Array as Array
from .shapes import Rng as Rng
from .shapes import outburst, paczynski
from .simulate.habits import CITIES, Habits, draw_device


@dataclass(frozen=True)
class Shape:
    """An anomalous light curve: a quiet source and how it brightens.

    brightest, faintest: range of the quiet magnitude.  brighten(rng, days): magnitudes above quiet (negative = fades)
    at `days` after the simulated night's start.  hosted: the quiet source is the nearest one in the reference image.
    dense: develops within hours, so it needs a field that is visited several times a night.
    """

    brightest: float
    faintest: float
    brighten: Callable[[Rng, Array], Array]
    hosted: bool = True
    dense: bool = False


def _fast_transient(rng: Rng, days: Array) -> Array:
    """Rises by 3 magnitudes or more within 2 to 8 hours one to three nights ago, then fades by about 1 a day."""
    onset, rise = rng.uniform(-3.1, -1.2), rng.uniform(2, 8) / 24
    peak, fade = rng.uniform(5.0, 6.5), rng.uniform(0.6, 1.2)
    since = days - onset
    return np.where(since < 0, 0.0, peak * np.clip(since / rise, 0, 1) - fade * np.clip(since - rise, 0, None)).clip(0)


def _cv_outburst(rng: Rng, days: Array) -> Array:
    """A dwarf nova: up by 4 to 6 magnitudes within a day, a slow decline for two to three weeks, then a fast one."""
    onset, rise, peak = rng.uniform(-20, -7), rng.uniform(0.5, 1.2), rng.uniform(4, 6)
    slow, plateau = rng.uniform(0.05, 0.12), rng.uniform(14, 22)
    return outburst(days - onset, rise, peak, slow, plateau)


def _microlensing(rng: Rng, days: Array) -> Array:
    """A point lens before a quiet star (Paczynski 1986): smooth, symmetric, the same in every band."""
    closest, crossing, peak = rng.uniform(0.05, 0.3), rng.uniform(6, 15), rng.uniform(-4, 2)
    return np.asarray(2.5 * np.log10(paczynski(closest**2 + ((days - peak) / crossing) ** 2)))


def _flare(rng: Rng, days: Array) -> Array:
    """A giant flare just before the night begins, decaying over hours, on a spotted, rotating star."""
    spots = rng.uniform(0.15, 0.3) * np.sin(2 * np.pi * (days / rng.uniform(0.6, 6) + rng.uniform()))
    since = days + rng.uniform(0.001, 0.02)
    flare = rng.uniform(2.5, 4.5) * np.exp(-np.clip(since, 0, None) / rng.uniform(0.06, 0.15))
    return spots + np.where(since < 0, 0.0, flare)


def _dip(rng: Rng, days: Array) -> Array:
    """A star that fades by 1.5 to 4 magnitudes within days, as behind dust, and recovers slowly."""
    onset, fall, depth = rng.uniform(-24, -7), rng.uniform(2, 5), rng.uniform(1.5, 4)
    since = days - onset
    return -np.where(since < 0, 0.0, depth * np.clip(since / fall, 0, 1) - 0.03 * np.clip(since - fall, 0, None))


SHAPES = {
    "fast_transient": Shape(22.5, 23.5, _fast_transient, hosted=False, dense=True),
    "cv_outburst": Shape(20.3, 21.3, _cv_outburst),
    "microlensing": Shape(16.5, 18.5, _microlensing),
    "flare": Shape(16.0, 17.5, _flare, dense=True),
    "dip": Shape(14.5, 16.5, _dip),
}


@dataclass(frozen=True)
class Kind:
    """An odd session: one drawn from other habits than the user's own, or at an hour when the user never comes.

    Everything in such a session fits together (a stolen phone has no mouse); only the user's past gives it away.
    """

    change: Callable[[Rng, Habits], Habits]
    odd_hour: bool = False


def _unchanged(rng: Rng, habits: Habits) -> Habits:
    """The same habits: only the time is odd."""
    return habits


def _huge_amount(rng: Rng, habits: Habits) -> Habits:
    """A purchase of 15 to 60 times the usual amount."""
    return replace(habits, amount=habits.amount * rng.uniform(15, 60), buys=1.0)


def _frantic(rng: Rng, habits: Habits) -> Habits:
    """A program rather than a person: dozens of pages, a second or two each, clicks to match, nothing typed."""
    clicks = rng.uniform(60, 200)
    return replace(habits, pages=rng.uniform(30, 90), reading=rng.uniform(0.8, 2), clicks=clicks, scrolls=0.0, keys=0.0)


def _takeover(rng: Rng, habits: Habits) -> Habits:
    """Somebody else: a device and a city this user never had, and an amount that is not theirs."""
    screens = {device.screen for device in habits.devices}
    device = draw_device(rng)
    while device.screen in screens:
        device = draw_device(rng)
    city = str(rng.choice([city for city in CITIES if city not in habits.cities]))
    return replace(habits, devices=(device,), cities=(city,), amount=habits.amount * rng.uniform(4, 12), buys=1.0)


def _combined(rng: Rng, habits: Habits) -> Habits:
    """A huge amount, frantically, at an odd hour."""
    return _huge_amount(rng, _frantic(rng, habits))


KINDS = {
    "huge_amount": Kind(_huge_amount),
    "odd_hour": Kind(_unchanged, odd_hour=True),
    "frantic": Kind(_frantic),
    "takeover": Kind(_takeover),
    "combined": Kind(_combined, odd_hour=True),
}
