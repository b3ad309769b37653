"""When a survey like ZTF looks at its fields: a month of history, then one night."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HISTORY_DAYS = 30  # what ZTF packs into an alert
NIGHT_STARTS, NIGHT_LASTS = 5 / 24, 6 / 24  # UTC, days: 05 to 11 h is dark at Palomar in every season
NIGHT_ZERO = 2457754.5  # Julian date of ZTF's night number 0
FIELDS_A_BLOCK = 12  # visited in one filter, then all again in the other, as the survey does
DENSE_EVERY = 5  # each fifth field belongs to a high-cadence programme
DENSE_VISITS = 4  # of such a field in a night, spread over all of it
GREEN, RED = 1, 2  # ZTF's fid


@dataclass(frozen=True)
class Field:
    """A survey field with all its visits in time order.

    jd (days), fid, limit (5 sigma, mag) and fwhm (pixels) are float64/int64 arrays of one length; the visits from
    `first_tonight` on are the simulated night's. ra, dec: the centre, deg. dense: several visits a night.
    """

    number: int
    ra: float
    dec: float
    dense: bool
    jd: Array
    fid: NDArray[np.int64]
    limit: Array
    fwhm: Array
    first_tonight: int

    @cached_property
    def exposures(self) -> list[dict[str, Any]]:
        """The part of a packet's row that an exposure gives to all its objects, one a visit; `pid` of quadrant 0."""
        floats = zip(self.jd.tolist(), self.fid.tolist(), self.limit.tolist(), strict=True)
        rows = []
        for jd, fid, limit in floats:
            nights, day = divmod(jd - NIGHT_ZERO, 1)
            row = {"jd": jd, "fid": fid, "pid": int(nights) * 10**9 + int(day * 1e5) * 10**4 + 15, "diffmaglim": limit}
            rows.append(row | {"programid": 1, "nid": int(nights), "rcid": 0, "field": self.number + 200})
        return rows


def midnight(night: date) -> float:
    """Julian date of 0 h UTC.

    >>> midnight(date(2000, 1, 1))
    2451544.5
    """
    return night.toordinal() + 1721424.5


def plan(seed: int, night: date, fields: int) -> list[Field]:
    """The night's fields; a pure function of its arguments.

    About three nights in four are clear, the last three surely, for all fields at once; a field is then visited every
    night, or every second to fourth, in g and r; a dense one every night, twice in each. No two exposures of the
    simulated night begin at the same time.
    """
    rng = np.random.default_rng([seed, night.toordinal()])
    clear = [day for day in range(-HISTORY_DAYS, 0) if rng.random() < 0.75 or day >= -3]
    blocks = -(-fields // FIELDS_A_BLOCK)
    return [_field(rng, midnight(night) + NIGHT_STARTS, clear, number, blocks) for number in range(fields)]


def _field(rng: np.random.Generator, start: float, clear: list[int], number: int, blocks: int) -> Field:
    dense = number % DENSE_EVERY == 0
    every = 1 if dense else int(rng.choice([1, 2, 3, 4], p=[0.1, 0.3, 0.35, 0.25]))
    days = np.array([day for day in clear if (day + number) % every == 0] + [0])
    times = start + _slots(number, dense, blocks) * NIGHT_LASTS / (2 * FIELDS_A_BLOCK * blocks)
    filters = np.resize([GREEN, RED] if rng.random() < 0.5 else [RED, GREEN], times.size)
    # Earlier nights differ by up to half an hour; tonight's slots are exact, so that no two exposures coincide.
    late = np.where(days == 0, 0.0, rng.uniform(-0.02, 0.02, days.size))
    visits = days.size * times.size
    return Field(
        number=number,
        ra=float(rng.uniform(0, 360)),
        dec=float(np.degrees(np.arcsin(rng.uniform(-0.4, 0.9)))),
        dense=dense,
        jd=np.round(((days + late)[:, None] + times).ravel(), 7),
        fid=np.tile(filters, days.size),
        limit=rng.normal(20.25, 0.35, visits).clip(19.0, 20.8).astype(np.float32).astype(np.float64),
        fwhm=rng.gamma(8, 0.12, visits) + 1.4,
        first_tonight=visits - times.size,
    )


def _slots(number: int, dense: bool, blocks: int) -> Array:
    """When the field's visits of a night begin, in slots of one exposure; a night has 24 slots for each block."""
    block, place = divmod(number, FIELDS_A_BLOCK)
    first = 2 * FIELDS_A_BLOCK * block + place
    if not dense:
        return np.array([first, first + FIELDS_A_BLOCK], dtype=float)
    # A quarter of a whole slot number plus an eighth is never whole: dense fields fit in between the others.
    quarter = 2 * FIELDS_A_BLOCK * blocks / DENSE_VISITS
    return first / DENSE_VISITS + 1 / 8 + quarter * np.arange(DENSE_VISITS, dtype=np.float64)
