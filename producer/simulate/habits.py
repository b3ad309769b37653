"""What a simulated user usually does: when, where, on what device, how fast, for how much."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

DAY = 86400.0  # s

# City, share of the users, local time minus UTC in minutes (no summer time, so that every run agrees).
CITIES = {
    "Berlin": (0.15, 60),
    "Lagos": (0.12, 60),
    "London": (0.12, 0),
    "Madrid": (0.08, 60),
    "Mumbai": (0.18, 330),
    "New York": (0.15, -300),
    "Sao Paulo": (0.10, -180),
    "Singapore": (0.10, 480),
}
LANGUAGES = ("english", "german", "hindi", "portuguese", "spanish")
BROWSERS = {"PC": ("Chrome", "Edge", "Firefox", "Safari"), "Mobile": ("Chrome", "Firefox", "Safari")}
SCREENS = {"PC": ("1366x768", "1440x900", "1920x1080", "2560x1440"), "Mobile": ("360x640", "390x844", "414x896")}


@dataclass(frozen=True)
class Device:
    """What a session says about the machine it comes from."""

    kind: str
    screen: str
    browser: str


@dataclass(frozen=True)
class Habits:
    """One user's habits.

    cities, devices: the usual first.  hours: 24 weights of the hours of the day (UTC), sum 1.
    sessions_a_day: mean number.  amount: the usual one (median), spread: its sigma in ln.  buys: chance of a purchase.
    pages: mean number a session.  reading: median time on a page, s.  clicks, scrolls, keys: a minute.
    """

    user_id: str
    language: str
    cities: tuple[str, ...]
    devices: tuple[Device, ...]
    hours: tuple[float, ...]
    sessions_a_day: float
    amount: float
    spread: float
    buys: float
    pages: float
    reading: float
    clicks: float
    scrolls: float
    keys: float

    def next_visit(self, rng: np.random.Generator, after: float) -> float:
        """The next time (s since 1970) this user comes, after a given one: a Poisson process that follows `hours`."""
        ends = tuple(accumulate(self.hours, initial=0.0))
        day, second = divmod(after, DAY)
        hour, rest = divmod(second, 3600)
        passed = ends[int(hour)] + self.hours[int(hour)] * rest / 3600
        days, share = divmod(passed + rng.exponential() / self.sessions_a_day, 1)
        hour = min(bisect_right(ends, share) - 1, 23)
        return float((day + days) * DAY + 3600 * (hour + (share - ends[hour]) / self.hours[hour]))

    def quiet_hour(self, rng: np.random.Generator, after: float) -> float:
        """The next time, after a given one, within one of the four hours at which this user hardly ever comes."""
        hour = int(rng.choice(np.argsort(self.hours, kind="stable")[:4]))
        at = (after // DAY) * DAY + 3600 * (hour + rng.random())
        return float(at if at > after else at + DAY)


def draw_device(rng: np.random.Generator, kind: str | None = None) -> Device:
    """Some device, of a kind if given."""
    kind = kind or str(rng.choice(["PC", "Mobile"]))
    return Device(kind, str(rng.choice(SCREENS[kind])), str(rng.choice(BROWSERS[kind])))


def draw_habits(rng: np.random.Generator, user_id: str, sessions_a_day: float) -> Habits:
    """A new user; `sessions_a_day` is the mean over all users."""
    cities = rng.choice(list(CITIES), size=2, replace=False, p=[share for share, _ in CITIES.values()])
    first = draw_device(rng)
    second = draw_device(rng, "Mobile" if first.kind == "PC" else "PC")
    return Habits(
        user_id=user_id,
        language=str(rng.choice(LANGUAGES)),
        cities=tuple(cities[: 2 if rng.random() < 0.25 else 1].tolist()),
        devices=(first, second) if rng.random() < 0.5 else (first,),
        hours=_hours(rng, CITIES[str(cities[0])][1]),
        sessions_a_day=float(sessions_a_day * rng.gamma(2, 0.5)) + 0.05,
        amount=float(np.exp(rng.normal(4.0, 0.9))),
        spread=rng.uniform(0.25, 0.6),
        buys=rng.uniform(0.6, 0.95),
        pages=float(1 + rng.gamma(2, 2)),
        reading=float(np.exp(rng.normal(3.4, 0.4))),
        clicks=float(rng.gamma(4, 1.5)),
        scrolls=float(rng.gamma(4, 2)),
        keys=float(rng.gamma(3, 4)),
    )


def _hours(rng: np.random.Generator, offset: int) -> tuple[float, ...]:
    """Weights of the UTC hours: one or two times of the local day, between 7 and 23 h, and almost none at night."""
    local = (np.arange(24) + 0.5 + offset / 60) % 24
    weights = np.full(24, 1e-3)
    for peak in rng.uniform(8, 22, size=int(rng.integers(1, 3))):
        weights += np.exp(-(((local - peak) / rng.uniform(1, 3)) ** 2)) * (local > 6.5)
    return tuple((weights / weights.sum()).tolist())


def offset_of(city: str) -> int:
    """Local time minus UTC in a city, minutes."""
    return CITIES[city][1]
