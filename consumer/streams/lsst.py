"""Rubin/LSST alerts (schema 3.0 to 11.1) and ELAsTiCC's: 26 light-curve features a band, of the difference flux.

Features are Fink's. Fields are trusted, not version numbers: `lsst_fields` has their names.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ...schemas.columns import Columns
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.entities import LIFETIME
from ...scoring.features.history import POINTS
from ...scoring.features.lightcurve import FEATURES
from .base import SECONDS_A_DAY, Floats, Ints, LightCurve, State, faults
from .lsst_curve import light_curve
from .lsst_fields import BANDS, WANTED, band_number
from .lsst_state import UNSCORED_REASONS, LsstHistoryState, LsstState, Rules

# 1970-01-01T00:00. Times are TAI, 37 s ahead of UTC since 2017; no night begins or ends so close to noon.
MJD_OF_1970 = 40_587
# The oldest reprocessed images (the Dark Energy Camera's) are of 2012; the upper bound is the year 2099.
EARLIEST_MJD, LATEST_MJD = 56_000.0, 88_000.0
CAPACITY = 200_000  # objects in memory, a partition; the others wait in Redis
_IN_NJY = (
    *("mean", "weighted_mean", "standard_deviation", "median", "amplitude", "inter_percentile_range_10"),
    *("linear_trend_noise", "median_absolute_deviation", "percent_amplitude"),
)
_A_DAY = ("linear_trend", "linear_trend_sigma", "linear_fit_slope", "linear_fit_slope_sigma", "maximum_slope")
_UNITS = {**dict.fromkeys(_IN_NJY, "nJy"), **dict.fromkeys(_A_DAY, "nJy/day")}
SHOWN = ("midpointMjdTai", "ra", "dec", "psfFlux", "psfFluxErr", "snr", "reliability")


class Lsst:
    """The stream `lsst`.

    history: "packet" takes each alert's light curve from its own packet (the survey's: up to a year); "state" adds what
    earlier packets of the object told, the last `points` rows of detections and of forced photometry. The topic's key
    must then be the object. capacity, lifetime: see `Entities`.
    """

    name = "lsst"
    framing: Choice = "auto"
    key_field = "diaSource.diaObjectId"
    wanted = WANTED
    features: tuple[str, ...] = tuple(f"{band}_{name}" for band in BANDS for name in FEATURES)
    units: tuple[str, ...] = tuple(_UNITS.get(name, "1") for _ in BANDS for name in FEATURES)
    unscored_reasons: tuple[str, ...] = UNSCORED_REASONS
    described: tuple[str, ...] = (*SHOWN, "band", "ssObjectId")

    def __init__(
        self,
        rules: Rules | None = None,
        history: Literal["packet", "state"] = "packet",
        capacity: int = CAPACITY,
        lifetime: int = LIFETIME,
        points: int = POINTS,
    ) -> None:
        self.rules = rules or Rules()
        self.history = history
        self.capacity = capacity
        self.lifetime = lifetime
        self.points = points

    def schema(self) -> Mapping[str, Any] | None:
        """None: containers bring their own, and the survey's wire names it by id."""
        return None

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Alerts without an id, a time, a place or a band that can be. Without a flux they are unscored, no fault."""
        mjd = columns.number("diaSource.midpointMjdTai")
        ra, dec = columns.number("diaSource.ra"), columns.number("diaSource.dec")
        no_id = columns.integer("diaSource.diaSourceId") == 0  # or null
        bad_band = band_number(columns.text("diaSource.band")) == 0
        return faults(
            (no_id, DecodeError("invalid", "there is no diaSource.diaSourceId, or it is 0")),
            (~np.isfinite(mjd), DecodeError("non_finite", "diaSource.midpointMjdTai is missing or not finite")),
            (~np.isfinite(ra) | ~np.isfinite(dec), DecodeError("non_finite", "ra or dec is missing or not finite")),
            (
                (mjd < EARLIEST_MJD) | (mjd > LATEST_MJD),
                DecodeError("invalid", f"midpointMjdTai is no MJD from {EARLIEST_MJD:.0f} to {LATEST_MJD:.0f}"),
            ),
            ((ra < 0) | (ra > 360) | (np.abs(dec) > 90), DecodeError("invalid", "ra, dec are not on the sky")),
            (bad_band, DecodeError("invalid", f"diaSource.band is none of {', '.join(BANDS)}")),
        )

    def open(self) -> State:
        """Packet mode: every alert brings its history, nothing is remembered. State mode: no object known yet."""
        if self.history == "packet":
            return LsstState(self.rules)
        return LsstHistoryState(self.rules, self.capacity, self.lifetime, self.points)

    def times(self, columns: Columns) -> Floats:
        """float64[n]: seconds since 1970."""
        return (columns.number("diaSource.midpointMjdTai") - MJD_OF_1970) * SECONDS_A_DAY

    def nights(self, columns: Columns) -> Ints:
        """Noon to noon UTC, as Rubin's own `day_obs`: morning on Cerro Pachón. Named by the date on which it begins."""
        return np.floor(columns.number("diaSource.midpointMjdTai") - 0.5).astype(np.int64) - MJD_OF_1970

    def object_id(self, columns: Columns, row: int) -> str:
        """diaObjectId, else ssObjectId, else diaSourceId; 0 and null are none. As text: they exceed 2^53."""
        ids = (int(columns.integer(f"diaSource.{name}")[row]) for name in ("diaObjectId", "ssObjectId"))
        return str(next((one for one in ids if one > 0), self.event_id(columns, row)))

    def event_id(self, columns: Columns, row: int) -> str:
        """The diaSourceId: ELAsTiCC's alertId is one constant, and there is none from schema 8 on."""
        return str(int(columns.integer("diaSource.diaSourceId")[row]))

    def describe(self, columns: Columns, row: int) -> Mapping[str, float | int | str | None]:
        """The source's place, time, band, flux (nJy) and reliability, by the survey's names; whose it is."""
        values = {name: _or_none(columns.number(f"diaSource.{name}")[row]) for name in SHOWN}
        solar = int(columns.integer("diaSource.ssObjectId")[row])
        band = columns.text("diaSource.band").at(row) or ""
        return {**values, "band": band.lower(), "ssObjectId": str(solar) if solar > 0 else None}

    def light_curve(self, columns: Columns, row: int) -> LightCurve:
        """The packet's own, forced photometry too."""
        return light_curve(columns, row)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
