"""Product records of a space telescope's archive, in the order of their release, and a few with known faults."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from math import asin, atan2, cos, degrees, radians, sin
from typing import Any

import numpy as np

from ..inject import Rng
from .event import Simulated

DAY = 86_400.0  # s
MJD_OF_1970 = 40_587.0
Record = dict[str, Any]


@dataclass(frozen=True)
class Mode:
    """An instrument with a filter: its band in nm, the usual exposure in s, and the least share of the span exposed."""

    product: str
    instrument: str
    filters: str
    em_min: float
    em_max: float
    exposure: float
    share: float


# Bands of well-known JWST filters and gratings, about as its documentation gives them.
MODES = (
    Mode("image", "NIRCAM/IMAGE", "F115W", 1_013, 1_282, 400, 0.95),
    Mode("image", "NIRCAM/IMAGE", "F150W", 1_331, 1_668, 400, 0.95),
    Mode("image", "NIRCAM/IMAGE", "F200W", 1_755, 2_226, 400, 0.95),
    Mode("image", "NIRCAM/IMAGE", "F277W", 2_423, 3_132, 400, 0.95),
    Mode("image", "NIRCAM/IMAGE", "F356W", 3_140, 3_980, 400, 0.95),
    Mode("image", "NIRCAM/IMAGE", "F444W", 3_880, 4_986, 400, 0.95),
    Mode("image", "MIRI/IMAGE", "F560W", 5_000, 6_200, 150, 0.99),
    Mode("image", "MIRI/IMAGE", "F770W", 6_600, 8_800, 150, 0.99),
    Mode("image", "MIRI/IMAGE", "F1500W", 13_500, 16_500, 150, 0.99),
    Mode("spectrum", "NIRSPEC/SLIT", "F170LP;G235H", 1_660, 3_170, 600, 0.8),
    Mode("spectrum", "NIRISS/WFSS", "GR150R;F200W", 1_750, 2_230, 900, 0.7),
    Mode("cube", "NIRSPEC/IFU", "CLEAR;PRISM", 600, 5_300, 1_000, 0.8),
    Mode("cube", "NIRSPEC/IFU", "F290LP;G395H", 2_870, 5_270, 1_000, 0.8),
    Mode("cube", "MIRI/IFU", "CH1;SHORT", 4_900, 5_740, 500, 0.5),
    Mode("cube", "MIRI/IFU", "CH3;LONG", 15_410, 17_980, 500, 0.5),
)
PLANNED = 0.02  # share of records of observations that are still to be made
PRODUCTS_A_VISIT = 6
RELEASES_A_DAY = 60.0


def _ra(rng: Rng, record: Record) -> None:
    record["s_ra"] *= rng.uniform(1, 2)


def _dec(rng: Rng, record: Record) -> None:
    record["s_dec"] = record["s_dec"] * rng.uniform(1, 2) + rng.uniform(-25, 25)


def _times(rng: Rng, record: Record) -> None:
    for name in ("t_min", "t_max"):
        if record[name] is not None:
            record[name] *= rng.uniform(1.1, 1.3)


def _exposure(rng: Rng, record: Record) -> None:
    record["t_exptime"] *= rng.uniform(1.3, 1.7)


def _band(rng: Rng, record: Record) -> None:
    for name in ("em_min", "em_max"):
        if record[name] is not None:
            record[name] += rng.uniform(-80, 80)


#: What can be false about a record, in place: (generator, record). Some falsehoods are small, and hidden by chance.
FAULTS: dict[str, Callable[[Rng, Record], None]] = {
    "ra": _ra,
    "dec": _dec,
    "times": _times,
    "exposure": _exposure,
    "band": _band,
}
ALL = "all_fields"


def falsify(rng: Rng, record: Record, *kinds: str) -> Record:
    """A copy of a record with these of its `FAULTS`, in the order given; "all_fields" = every one. Nulls stay null.

    >>> falsify(np.random.default_rng(1), {"t_exptime": 100.0}, "exposure")["t_exptime"] > 130
    True
    """
    changed = dict(record)
    for kind in kinds:
        for name in FAULTS if kind == ALL else (kind,):
            FAULTS[name](rng, changed)
    return changed


def simulate_observations(
    seed: int, start: datetime, events: int | None = None, anomaly_rate: float = 0.005
) -> Iterator[Simulated]:
    """Records released from `start` on, in that order; they follow the schema `observation`.

    events: how many; None = without end.  anomaly_rate: share of the made observations whose record is falsified; their
    `truth` is one of `FAULTS`, or "all_fields". About 2 % of the records are of planned observations, without times.

    A pure function of its arguments: the same call gives the same records. Raises ValueError for a start without a time
    zone and for numbers that make no sense.
    """
    if start.tzinfo is None:
        raise ValueError("the start needs a time zone, for example datetime(2026, 11, 21, tzinfo=UTC)")
    if not 0 <= anomaly_rate <= 1 or (events or 0) < 0:
        raise ValueError("need events >= 0 and 0 <= anomaly_rate <= 1")
    return islice(_records(seed, start.astimezone(UTC).timestamp() / DAY + MJD_OF_1970, anomaly_rate), events)


def _records(seed: int, release: float, anomaly_rate: float) -> Iterator[Simulated]:
    for visit in count(1):
        rng = np.random.default_rng([seed, visit])
        for record in _visit(rng, visit, release):
            truth = None
            release += float(rng.exponential(1 / RELEASES_A_DAY))
            if record["t_min"] is None:
                record["ingest_ts"] = round((release - MJD_OF_1970) * DAY * 1e6)
            else:
                record["t_obs_release"] = round(record["t_obs_release"] + release, 8)
                if rng.random() < anomaly_rate:
                    truth = str(rng.choice([*FAULTS, ALL]))
                    record = falsify(rng, record, truth)
            yield Simulated(record, record["obs_id"], record["obs_id"], (release - MJD_OF_1970) * DAY, truth)


def _visit(rng: Rng, visit: int, release: float) -> Iterator[Record]:
    """The records of one visit: one target, one instrument mode, one exposure after the other."""
    mode = MODES[int(rng.integers(len(MODES)))]
    planned = rng.random() < PLANNED
    # Half of the programmes are public at once; the others' data belong to the proposers for a year.
    lag = float(rng.uniform(0.1, 3)) if rng.random() < 0.5 else 365 + float(rng.gamma(1, 3))
    products = 1 + int(rng.poisson(PRODUCTS_A_VISIT - 1))
    # The first record's release is `release`; the later ones', hours after it, only lengthen the lag.
    at = release - lag - products * 0.2
    ra, dec = pointing(rng, at)
    programme, exposure = 1_000 + visit // 40 % 9_000, mode.exposure * float(np.exp(0.6 * rng.standard_normal()))
    for number in range(1, products + 1):
        share = float(rng.uniform(mode.share, 1.0))
        span = exposure / share / DAY
        yield {
            "obs_id": f"jw{programme:05d}{visit % 10**6:06d}_{number:05d}",
            "obs_collection": "JWST",
            "dataproduct_type": mode.product,
            "calib_level": -1 if planned else 2,
            "target_name": f"TARGET-{visit}",
            "s_ra": round(ra, 7),
            "s_dec": round(dec, 7),
            "t_min": None if planned else round(at, 8),
            "t_max": None if planned else round(at + span, 8),
            "t_exptime": round(exposure, 3),
            "filters": mode.filters,
            "em_min": float(mode.em_min),
            "em_max": float(mode.em_max),
            "instrument_name": mode.instrument,
            "proposal_id": str(programme),
            "t_obs_release": None if planned else 0.0,  # the caller adds when
            "ingest_ts": None,
        }
        at += span + float(rng.uniform(0.001, 0.01))


def pointing(rng: Rng, mjd: float) -> tuple[float, float]:
    """A place on the sky, ra and dec in degrees, 86 to 134 degrees from the Sun: where the sunshield lets JWST look."""
    ra, dec = map(radians, sun(mjd))
    distance, angle = radians(rng.uniform(86, 134)), rng.uniform(0, 2 * np.pi)
    sine = sin(dec) * cos(distance) + cos(dec) * sin(distance) * cos(angle)
    east = atan2(sin(angle) * sin(distance) * cos(dec), cos(distance) - sin(dec) * sine)
    return degrees(ra + east) % 360, degrees(asin(sine))


def sun(mjd: float) -> tuple[float, float]:
    """The Sun's ra and dec, deg, to 0.01 (the Astronomical Almanac's low-precision formula).

    >>> [round(angle, 1) % 360 for angle in sun(60_389.129)]  # equinox, 2024-03-20T03:06 UTC
    [0.0, 0.0]
    """
    days = mjd - 51_544.5
    anomaly = radians(357.528 + 0.9856003 * days)
    longitude = radians(280.460 + 0.9856474 * days + 1.915 * sin(anomaly) + 0.020 * sin(2 * anomaly))
    obliquity = radians(23.439)
    return degrees(atan2(cos(obliquity) * sin(longitude), cos(longitude))), degrees(
        asin(sin(obliquity) * sin(longitude))
    )
