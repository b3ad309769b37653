"""ZTF alerts (schema 1.3 to 4.02) and what resembles them: 26 light-curve features a band from the packet's own window.

Rules and names are Fink's. Fields are trusted, not version strings: archives rewritten by brokers carry either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.columns import Columns, Text, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.features.lightcurve import FEATURES, lightcurve_features, usable
from ...scoring.features.window import Window
from .base import Features, Floats, Ints, faults

BANDS = {1: "g", 2: "r", 3: "i"}  # ZTF's fid
SCORED_BANDS = (1, 2)
# Julian dates begin at noon, so a night's number is the integer part; this one is 1970-01-01T12:00 UTC.
JD_OF_FIRST_NOON = 2_440_588
# First light was in 2017 (2,457,7xx); the upper bound is the year 2099. Anything else is a broken record.
EARLIEST_JD, LATEST_JD = 2_457_000.0, 2_488_000.0

_DETECTION = ("jd", "fid", "magpsf", "sigmapsf", "distnr", "magnr", "sigmagnr")
_CANDIDATE = (*_DETECTION, "ra", "dec", "rb", "drb", "nbad", "diffmaglim")

_UNITS = {
    "mean": "mag",
    "weighted_mean": "mag",
    "standard_deviation": "mag",
    "median": "mag",
    "amplitude": "mag",
    "inter_percentile_range_10": "mag",
    "linear_trend": "mag/day",
    "linear_trend_sigma": "mag/day",
    "linear_trend_noise": "mag",
    "linear_fit_slope": "mag/day",
    "linear_fit_slope_sigma": "mag/day",
    "maximum_slope": "mag/day",
    "median_absolute_deviation": "mag",
    "percent_amplitude": "mag",
    "mean_variance": "1",
}


@dataclass(frozen=True)
class Gate:
    """The real/bogus gate: what passes is worth scoring. Fink's by default; 0 switches a limit off."""

    min_real_bogus: float = 0.55
    min_deep_real_bogus: float = 0.0
    max_bad_pixels: float = 0.0

    def passes(self, columns: Columns) -> NDArray[np.bool_]:
        """bool[n]. A record without a value (early schemas) passes that limit: nothing speaks against it."""
        rb, drb = columns.number("candidate.rb"), columns.number("candidate.drb")
        return ~(
            (rb < self.min_real_bogus)
            | (drb < self.min_deep_real_bogus)
            | (columns.number("candidate.nbad") > self.max_bad_pixels)
        )


class Ztf:
    """The stream `ztf`."""

    name = "ztf"
    framing: Choice = "auto"
    wanted = Wanted(
        numbers=tuple(f"candidate.{name}" for name in _CANDIDATE),
        integers=("candidate.candid",),
        texts=("objectId", "candidate.isdiffpos"),
        tables={"prv_candidates": Wanted(numbers=_DETECTION, texts=("isdiffpos",))},
    )
    features: tuple[str, ...] = tuple(f"{BANDS[band]}_{name}" for band in SCORED_BANDS for name in FEATURES)
    units: tuple[str, ...] = tuple(_UNITS.get(name, "1") for _ in SCORED_BANDS for name in FEATURES)
    # In order of importance; an alert is counted under the first that holds.
    unscored_reasons: tuple[str, ...] = (
        "no_object_id",
        "gated",
        "band_missing",
        "malformed",
        "too_few_points",
        "warming",
    )

    def __init__(self, gate: Gate | None = None) -> None:
        self.gate = gate or Gate()

    def schema(self) -> Mapping[str, Any] | None:
        """None: every alert brings its own."""
        return None

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Alerts without a candidate id, a time, a place or a band that can be."""
        jd, fid = columns.number("candidate.jd"), columns.number("candidate.fid")
        ra, dec = columns.number("candidate.ra"), columns.number("candidate.dec")
        return faults(
            (columns.null("candidate.candid"), DecodeError("invalid", "there is no candidate.candid")),
            (~np.isfinite(jd), DecodeError("non_finite", "candidate.jd is missing or not finite")),
            (~np.isfinite(ra) | ~np.isfinite(dec), DecodeError("non_finite", "ra or dec is missing or not finite")),
            ((jd < EARLIEST_JD) | (jd > LATEST_JD), DecodeError("invalid", "candidate.jd is not in ZTF's time")),
            ((ra < 0) | (ra > 360) | (np.abs(dec) > 90), DecodeError("invalid", "ra, dec are not on the sky")),
            (~np.isin(fid, tuple(BANDS)), DecodeError("invalid", "candidate.fid is not 1, 2 or 3")),
        )

    def open(self) -> "ZtfState":
        """Packet mode: every alert brings its history, nothing is remembered."""
        return ZtfState(self)

    def nights(self, columns: Columns) -> Ints:
        """Noon to noon UTC, named by the date on which the night begins."""
        return np.floor(columns.number("candidate.jd")).astype(np.int64) - JD_OF_FIRST_NOON

    def object_id(self, columns: Columns, row: int) -> str:
        """ZTF's objectId."""
        return columns.text("objectId").at(row) or ""

    def event_id(self, columns: Columns, row: int) -> str:
        """The candidate's candid, which every schema version has, as text: it exceeds 2^53."""
        return str(int(columns.integer("candidate.candid")[row]))

    def describe(self, columns: Columns, row: int) -> Mapping[str, float | int | str | None]:
        """The candidate's place, time, band, brightness and real/bogus."""
        names = ("jd", "ra", "dec", "magpsf", "sigmapsf", "rb", "drb", "distnr")
        values = {name: _or_none(columns.number(f"candidate.{name}")[row]) for name in names}
        return {**values, "band": BANDS[int(columns.number("candidate.fid")[row])]}


class ZtfState:
    """Light-curve features in packet mode. Satisfies `State`."""

    tracked = evicted = state_bytes = 0

    def __init__(self, stream: Ztf) -> None:
        self.stream = stream

    def features(self, columns: Columns) -> Features:
        """Alerts past the gate with at least one band whose features are all there; an unusable band is missing."""
        nameless = columns.text("objectId").null()
        gated = ~nameless & ~self.stream.gate.passes(columns)
        rows = np.flatnonzero(~nameless & ~gated)
        curves = lightcurve_features(window(columns.take(rows)), SCORED_BANDS)
        complete = usable(curves)
        scorable = complete.any(axis=1)
        absent = ~curves.present.any(axis=1)
        malformed = ~scorable & ~absent & curves.malformed.any(axis=1)
        poor = ~scorable & ~absent & ~malformed
        values = np.where(complete[:, :, None], curves.values, np.nan)[scorable]
        return Features(
            rows[scorable],
            values.reshape(len(values), len(self.stream.features)),
            {
                "no_object_id": int(nameless.sum()),
                "gated": int(gated.sum()),
                "band_missing": int(absent.sum()),
                "malformed": int(malformed.sum()),
                "too_few_points": int(poor.sum()),
            },
        )


def window(columns: Columns) -> Window:
    """The light-curve windows of alerts: each packet's history, then the candidate itself."""
    offsets, history = columns.table("prv_candidates")
    n, sizes = len(columns), np.diff(offsets)
    ends = np.cumsum(sizes + 1)
    is_candidate = np.zeros(len(history) + n, np.bool_)
    is_candidate[ends - 1] = True

    def merged(name: str) -> Floats:
        column = np.empty(len(is_candidate))
        column[is_candidate] = columns.number(f"candidate.{name}")
        column[~is_candidate] = history.number(name)
        return column

    positive = np.empty(len(is_candidate), np.bool_)
    positive[is_candidate] = _positive(columns.text("candidate.isdiffpos"))
    positive[~is_candidate] = _positive(history.text("isdiffpos"))
    numbers = {name: merged(name) for name in _DETECTION if name != "fid"}
    band = np.nan_to_num(merged("fid"), nan=0.0, posinf=0.0, neginf=0.0)
    return Window(
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        band=np.where(np.isin(band, tuple(BANDS)), band, 0.0).astype(np.int64),
        positive=positive,
        **numbers,
    )


def _positive(isdiffpos: Text) -> NDArray[np.bool_]:
    return isdiffpos.equals("t", "1")


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
