"""Columns of the API's tables: Fink's names for what is Fink's (i: of the alert, d: added), and ours beside them.

A name of Fink's kind that the board knows nothing of is a column of nulls, so that clients which ask for it run.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_core import to_json

from ..scoring.features.lightcurve import FEATURES
from ..scoring.features.observation import NUMBERS
from .problems import wrong
from .rows import Entry

Kind = Literal["text", "integer", "number", "json"]
FID = {"g": 1, "r": 2, "i": 3}
LARGEST = 2**63 - 1

_USUAL: Mapping[Kind, type] = {"text": str, "number": float, "json": list}
_FAMILIES = re.compile(r"[idvb]:[A-Za-z0-9_]{1,62}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column: `value` finds it in a row of the board; null where it isn't there or isn't of this kind.

    One that is `large` is only there if it is asked for by its name.
    """

    name: str
    kind: Kind
    about: str
    value: Callable[[Entry], Any]
    large: bool = False

    def of(self, entry: Entry) -> Any:
        """The value, of the column's kind."""
        value = self.value(entry)
        # Nearly all are; a page of 100 rows has 2,700 of them.
        return value if type(value) is _USUAL.get(self.kind) else typed(self.kind, value)


def typed(kind: Kind, value: Any) -> Any:
    """The value if it is of this kind, else None.

    >>> typed("integer", 3), typed("number", 3), typed("text", 3), typed("integer", 2**63), typed("number", True)
    (3, 3.0, '3', None, None)
    """
    if value is None or kind == "json":
        return value
    if kind == "text":
        return value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind == "number":
        return float(value)
    return value if isinstance(value, int) and -LARGEST <= value <= LARGEST else None


def _record(name: str, kind: Kind, about: str) -> Column:
    return Column(f"i:{name}", kind, about, lambda entry: entry.candidate.get(name))


def _detail(name: str, kind: Kind, about: str) -> Column:
    return Column(f"d:{name}", kind, about, lambda entry: entry.details.get(name))


def _candid(entry: Entry) -> int | None:
    event = str(entry.details.get("event", ""))
    return int(event) if re.fullmatch(r"-?\d{1,19}", event, re.ASCII) else None


def _features(band: str) -> Column:
    names = [f"{band}_{name}" for name in FEATURES]

    def value(entry: Entry) -> str:
        known: Mapping[str, float] = entry.details.get("features", {})
        return to_json(list(map(known.get, names))).decode()

    return Column(
        f"d:lc_features_{band}", "text", f"JSON list of the 26 features in band {band}, in Fink's order", value
    )


def _forest(entry: Entry) -> float | None:
    raw = entry.details.get("raw", {}).get("frozen")
    return None if raw is None else -raw


def _utc(entry: Entry) -> str:
    when = datetime.fromtimestamp(entry.time, UTC).replace(tzinfo=None)
    return when.isoformat(" ", "milliseconds")


OBJECT = Column("i:objectId", "text", "whose row it is", lambda entry: entry.object)
OURS = (
    Column(
        "d:anomaly_score",
        "number",
        "raw score of the frozen forest, in Fink's direction: lower = more anomalous",
        _forest,
    ),
    Column("d:score", "number", "the whole detector's, 0 to 1, higher = more anomalous", lambda entry: entry.score),
    _detail("combined", "number", "what d:score is the percentile of"),
    Column("d:rank", "integer", "place in its night's list, from 1", lambda entry: entry.rank),
    Column(
        "d:night", "text", "the night as the board names it, by the date on which it begins", lambda entry: entry.night
    ),
    Column("d:time", "text", "time of the event, UTC", _utc),
    _detail("event", "text", "the event's id, as text: larger than some readers' numbers"),
    _detail("severity", "text", "notable, high or null"),
    _detail("probability", "number", "of an anomaly, where a classifier is calibrated"),
    Column(
        "d:reasons",
        "json",
        "the weightiest features, in words",
        lambda entry: [one.get("words") for one in entry.details.get("reasons", [])],
    ),
    _detail("raw", "json", "raw scores by part"),
    _detail("z", "json", "the same in standard deviations of the recent past"),
    _detail("model", "text", "id of the model"),
)
LIGHT_CURVE = Column(
    "d:lightcurve",
    "json",
    "only if asked for: lists jd, band, mag, sigma, limit (mag is null then), positive, by time",
    lambda entry: entry.details.get("lightcurve"),
    large=True,
)
LAYOUTS: Mapping[str, tuple[Column, ...]] = {
    "ztf": (
        OBJECT,
        Column("i:candid", "integer", "the alert's id", _candid),
        _record("jd", "number", "time, Julian date UTC"),
        _record("ra", "number", "right ascension, degrees J2000"),
        _record("dec", "number", "declination, degrees J2000"),
        Column(
            "i:fid", "integer", "filter: 1 = g, 2 = r, 3 = i", lambda entry: FID.get(entry.candidate.get("band", ""))
        ),
        _record("magpsf", "number", "magnitude of the difference image"),
        _record("sigmapsf", "number", "its error"),
        _record("rb", "number", "real/bogus, 0 to 1"),
        _record("drb", "number", "the same by the deep network"),
        _record("distnr", "number", "distance of the nearest reference source, pixels"),
        *(_features(band) for band in ("g", "r")),
        Column("d:cdsxmatch", "text", "class in SIMBAD; null: alerts bring none", lambda _: None),
        *OURS,
        LIGHT_CURVE,
    ),
    "lsst": (
        OBJECT,
        Column("i:diaSourceId", "integer", "the source's id", _candid),
        _record("ssObjectId", "text", "id of the solar-system object, as text"),
        _record("midpointMjdTai", "number", "time, MJD TAI"),
        _record("ra", "number", "right ascension, degrees"),
        _record("dec", "number", "declination, degrees"),
        _record("band", "text", "u, g, r, i, z or y"),
        _record("psfFlux", "number", "flux of the difference image, nJy"),
        _record("psfFluxErr", "number", "its error, nJy"),
        _record("snr", "number", "signal to noise"),
        _record("reliability", "number", "real/bogus, 0 to 1"),
        *(_features(band) for band in ("u", "g", "r", "i", "z", "y")),
        *OURS,
        replace(LIGHT_CURVE, about="only if asked for: lists jd, band, flux (nJy), sigma, forced, by time"),
    ),
    "behaviour": (
        OBJECT,
        _record("transaction_date", "text", "time, as the event has it"),
        _record("device_type", "text", "device"),
        _record("geolocation_city", "text", "city"),
        _record("transaction_amount", "number", "amount"),
        *OURS,
    ),
    "observation": (
        OBJECT,
        *(
            _record(name, "text", "as the archive has it")
            for name in ("dataproduct_type", "instrument_name", "filters", "target_name", "proposal_id")
        ),
        *(_record(name, "number", "as the archive has it") for name in NUMBERS),
        *OURS,
    ),
}
TAG = Column("d:tag", "text", "valid: what is on the board is a detection", lambda _: "valid")


def layout(stream: str, rows: Iterable[Entry] = ()) -> tuple[Column, ...]:
    """All columns of a stream. A board of another name has those of its records' kind, or what its records have."""
    if stream in LAYOUTS:
        return LAYOUTS[stream]
    kinds: dict[str, Kind] = {}
    for entry in rows:
        for name, value in entry.candidate.items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and kinds.get(name) != "text":
                kinds[name] = "number" if numeric else "text"
            kinds.setdefault(name, "number")
    for columns in LAYOUTS.values():
        if kinds and kinds.keys() <= {"band", *(one.name.removeprefix("i:") for one in columns)}:
            return columns
    return (OBJECT, *(_record(name, kind, "as the record has it") for name, kind in kinds.items()), *OURS, LIGHT_CURVE)


def choose(known: Sequence[Column], names: Sequence[str]) -> list[Column]:
    """The columns that are asked for, in that order; all but large ones if none is.

    Names that can't be columns are passed over. Raises `Problem` if nothing is left.
    """
    if not names:
        return [one for one in known if not one.large]
    by_name = {one.name: one for one in known}
    found = [by_name.get(name) or _nothing(name) for name in names if name in by_name or _FAMILIES.fullmatch(name)]
    if not found:
        raise wrong("columns", "names no column: they look like i:objectId; /api/v1/schema lists them")
    return found


def _nothing(name: str) -> Column:
    return Column(name, "text", "not on the board", lambda _: None)
