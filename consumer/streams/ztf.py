"""ZTF alerts (schema 1.3 to 4.02) and what resembles them: 26 light-curve features a band.

They are made of the packet's own window, or of that and what is remembered of the object. Rules and names are Fink's.
Fields are trusted, not version strings: archives rewritten by brokers carry either.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...schemas.columns import Columns, Text, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.entities import LIFETIME, Entities, Keys
from ...scoring.features.history import POINTS, History
from ...scoring.features.lightcurve import FEATURES, lightcurve_features, usable
from ...scoring.features.window import Window
from .base import Features, Floats, Ints, LightCurve, State, Stateless, faults
from .ztf_curve import BANDS, light_curve

SCORED_BANDS = (1, 2)
# Julian dates begin at noon, so a night's number is the integer part; this one is 1970-01-01T12:00 UTC.
JD_OF_FIRST_NOON = 2_440_588
# First light was in 2017 (2,457,7xx); the upper bound is the year 2099. Anything else is a broken record.
EARLIEST_JD, LATEST_JD = 2_457_000.0, 2_488_000.0
CAPACITY = 200_000  # objects in memory, a partition; the others wait in Redis
# ZTF18aaaaaak has 12 bytes, but not every alert of this shape is ZTF's: WINTER's objects are called WIRC21aaaab, and
# simulations name theirs as they like. So an id is any short word.
ID_BYTES = 64

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


SHOWN = ("jd", "ra", "dec", "magpsf", "sigmapsf", "rb", "drb", "distnr")


class Ztf:
    """The stream `ztf`.

    history: "packet" takes each alert's light curve from its own packet (ZTF's: 30 days); "state" adds what earlier
    packets of the object told, the last `points` detections. The topic's key must then be the objectId, or else each
    partition knows only what it has seen. capacity, lifetime: see `Entities`.
    """

    name = "ztf"
    framing: Choice = "auto"
    key_field = "objectId"
    wanted = Wanted(
        numbers=tuple(f"candidate.{name}" for name in _CANDIDATE),
        integers=("candidate.candid",),
        texts=("objectId", "candidate.isdiffpos"),
        tables={"prv_candidates": Wanted(numbers=(*_DETECTION, "diffmaglim"), texts=("isdiffpos",))},
    )
    features: tuple[str, ...] = tuple(f"{BANDS[band]}_{name}" for band in SCORED_BANDS for name in FEATURES)
    units: tuple[str, ...] = tuple(_UNITS.get(name, "1") for _ in SCORED_BANDS for name in FEATURES)
    described: tuple[str, ...] = (*SHOWN, "band")
    # In order of importance; an alert is counted under the first that holds.
    unscored_reasons: tuple[str, ...] = (
        "no_object_id",
        "gated",
        "band_missing",
        "malformed",
        "too_few_points",
        "warming",
    )

    def __init__(
        self,
        gate: Gate | None = None,
        history: Literal["packet", "state"] = "packet",
        capacity: int = CAPACITY,
        lifetime: int = LIFETIME,
        points: int = POINTS,
    ) -> None:
        self.gate = gate or Gate()
        self.history = history
        self.capacity = capacity
        self.lifetime = lifetime
        self.points = points

    def schema(self) -> Mapping[str, Any] | None:
        """None: every alert brings its own."""
        return None

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Alerts without ids, a time, a place or a band that can be.

        ZTF's candids were negative as late as schema 1.3, so only 0 is none. No objectId is no fault, but unscored.
        """
        jd, fid = columns.number("candidate.jd"), columns.number("candidate.fid")
        ra, dec = columns.number("candidate.ra"), columns.number("candidate.dec")
        no_candid = columns.integer("candidate.candid") == 0  # or null
        malformed = columns.text("objectId").malformed(ID_BYTES, ascii_only=True)
        return faults(
            (no_candid, DecodeError("invalid", "there is no candidate.candid, or it is 0")),
            (malformed, DecodeError("invalid", f"objectId is not 1 to {ID_BYTES} printable ASCII characters")),
            (~np.isfinite(jd), DecodeError("non_finite", "candidate.jd is missing or not finite")),
            (~np.isfinite(ra) | ~np.isfinite(dec), DecodeError("non_finite", "ra or dec is missing or not finite")),
            ((jd < EARLIEST_JD) | (jd > LATEST_JD), DecodeError("invalid", "candidate.jd is not in ZTF's time")),
            ((ra < 0) | (ra > 360) | (np.abs(dec) > 90), DecodeError("invalid", "ra, dec are not on the sky")),
            (~np.isin(fid, tuple(BANDS)), DecodeError("invalid", "candidate.fid is not 1, 2 or 3")),
        )

    def open(self) -> State:
        """Packet mode: every alert brings its history, nothing is remembered. State mode: no object known yet."""
        return ZtfState(self) if self.history == "packet" else ZtfHistoryState(self)

    def compute(self, columns: Columns, windows: Callable[[Ints], Window]) -> Features:
        """Features of the alerts past the gate with at least one band that has them all; a band that hasn't is missing.

        windows: the light-curve windows of these rows, which are in order.
        """
        nameless = columns.text("objectId").null()
        gated = ~nameless & ~self.gate.passes(columns)
        rows = np.flatnonzero(~nameless & ~gated)
        curves = lightcurve_features(windows(rows), SCORED_BANDS)
        complete = usable(curves)
        scorable = complete.any(axis=1)
        absent = ~curves.present.any(axis=1)
        malformed = ~scorable & ~absent & curves.malformed.any(axis=1)
        poor = ~scorable & ~absent & ~malformed
        values = np.where(complete[:, :, None], curves.values, np.nan)[scorable]
        return Features(
            rows[scorable],
            values.reshape(len(values), len(self.features)),
            {
                "no_object_id": int(nameless.sum()),
                "gated": int(gated.sum()),
                "band_missing": int(absent.sum()),
                "malformed": int(malformed.sum()),
                "too_few_points": int(poor.sum()),
            },
        )

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
        values = {name: _or_none(columns.number(f"candidate.{name}")[row]) for name in SHOWN}
        return {**values, "band": BANDS[int(columns.number("candidate.fid")[row])]}

    def light_curve(self, columns: Columns, row: int) -> LightCurve:
        """The packet's own, upper limits too."""
        return light_curve(columns, row)


class ZtfState(Stateless):
    """Light-curve features in packet mode. Satisfies `State`."""

    def __init__(self, stream: Ztf) -> None:
        self.stream = stream

    def features(self, columns: Columns) -> Features:
        """Each alert's from its own packet."""
        return self.stream.compute(columns, lambda rows: window(columns.take(rows)))


class ZtfHistoryState:
    """Light-curve features in state mode. Satisfies `State`.

    Alerts that fail the gate, or have no objectId, are nobody's: neither they nor their history are remembered.
    """

    keys_per_event = 1

    def __init__(self, stream: Ztf) -> None:
        self.stream = stream
        # A secret salt, in case strangers choose the ids: `KeyedState` says why.
        self.history = History(
            stream.capacity, points=stream.points, lifetime=stream.lifetime, salt=secrets.randbits(64)
        )
        self.entities: Entities | None = self.history.entities

    @property
    def state_bytes(self) -> int:
        """Memory that the remembered objects take."""
        return self.history.state_bytes

    def keys(self, columns: Columns) -> Keys:
        """The objects of the alerts that pass the gate."""
        return np.where(self.stream.gate.passes(columns), columns.text("objectId").hashes(), np.uint64(0))

    def features(self, columns: Columns) -> Features:
        """Each alert's from its own packet and what was remembered of its object before it."""
        keys = self.keys(columns)
        return self.stream.compute(columns, lambda rows: self.history.remember(window(columns.take(rows)), keys[rows]))

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """Nothing: all is remembered by object."""
        return {}

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Nothing to restore."""


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
