"""Alerts in the field names of each version of the LSST alert schema, in small schemas of our own."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

Record = dict[str, Any]
MJD = 61_365.2  # in the night of 2026-11-20

VERSIONS = ((3, 0), (4, 0), (5, 0), (6, 0), (7, 1), (7, 2), (7, 4), (8, 0), (9, 0), (10, 0), (10, 1), (11, 0), (11, 1))
STATISTICS = ("Mean", "Sigma", "Ndata", "Chi2", "Min", "Max")


class Names(NamedTuple):
    """What a version calls things."""

    time: str = "midpointMjdTai"
    flux: str = "psfFlux"
    band: str = "band"
    dec: str = "dec"
    reliability: str = "reliability"
    statistic: str = "{band}_psfFlux{name}"


NEW = Names()
OLD = Names("midPointTai", "psFlux", "filterName", "decl", "spuriousness", "{band}PSFlux{name}")


def names(major: int) -> Names:
    return OLD if major <= 4 else NEW


def _nullable(*kinds: str) -> list[str]:
    return ["null", *kinds]


def types(major: int, minor: int) -> dict[str, Record]:
    """The named types of a version by full name, `alert` last; each names the others."""
    called, space = names(major), f"lsst.v{major}_{minor}"
    floats = "float" if major <= 4 else _nullable("float")
    band = _nullable("string") if major >= 7 else "string"
    point = {called.time: "double", called.band: band, called.flux: floats, f"{called.flux}Err": floats}
    flag = {(7, 3): "is_negative", (7, 4): "is_negative"}.get((major, minor), "isNegative" if major >= 8 else None)
    source = {
        "diaSourceId": "long",
        "diaObjectId": _nullable("long"),
        "ssObjectId": _nullable("long"),
        "ra": "double",
        called.dec: "double",
        "snr": _nullable("float"),
        **point,
        **({flag: _nullable("boolean")} if flag else {}),
        called.reliability: _nullable("float"),
    }
    known = [one for one in STATISTICS if major >= 8 or one not in ("Min", "Max")]
    known = [one for one in known if major < 8 or one != "Chi2"]
    statistics = {
        called.statistic.format(band=one, name=name): _nullable("int" if name == "Ndata" else "float")
        for one in "ugrizy"
        for name in known
    }
    sources, forced = ({"type": "array", "items": f"{space}.{one}"} for one in ("diaSource", "diaForcedSource"))
    cutouts = ("Difference", "Template") if major < 6 else ("Difference", "Science", "Template")
    alert = {
        "diaSourceId" if major >= 8 else "alertId": "long",
        "diaSource": f"{space}.diaSource",
        "prvDiaSources": ["null", sources],
        "prvDiaForcedSources": ["null", forced],
        "diaObject": _nullable(f"{space}.diaObject"),
        **{f"cutout{one}": _nullable("bytes") for one in cutouts},
    }
    bodies: dict[str, Record] = {
        "diaSource": source,
        "diaForcedSource": {"diaForcedSourceId": "long", **point},
        "diaObject": {"diaObjectId": "long", **statistics},
        "alert": alert,
    }
    return {
        f"{space}.{name}": {
            "type": "record",
            "name": name,
            "namespace": space,
            "fields": [{"name": field, "type": kind} for field, kind in body.items()],
        }
        for name, body in bodies.items()
    }


def write_schemas(folder: Path, *versions: tuple[int, int]) -> Path:
    """Files in the layout of `lsst-alert-packet`: a folder a version, a file a type."""
    for major, minor in versions:
        place = folder / str(major) / str(minor)
        place.mkdir(parents=True)
        for name, schema in types(major, minor).items():
            (place / f"{name}.avsc").write_text(json.dumps(schema))
    return folder


def renamed(record: Record, called: Names) -> Record:
    """A record by the names of 5 and later → by those of a version."""
    table = {
        "midpointMjdTai": called.time,
        "psfFlux": called.flux,
        "psfFluxErr": f"{called.flux}Err",
        **{name: getattr(called, name) for name in ("band", "dec", "reliability")},
    }
    return {table.get(name, name): value for name, value in record.items()}


def source(mjd: float = MJD, flux: float | None = 1_000.0, band: str | None = "r", **more: Any) -> Record:
    error = None if flux is None else 50.0
    ids = {"diaSourceId": int(mjd * 1e6) << 20, "diaObjectId": 7, "ssObjectId": None, "ra": 10.0, "dec": -30.0}
    row = {"midpointMjdTai": mjd, "psfFlux": flux, "psfFluxErr": error, "band": band, "snr": 20.0, "reliability": 0.9}
    return {**ids, **row, **more}


def alert(
    current: Record | None = None,
    earlier: list[Record] | None = None,
    forced: list[Record] | None = None,
    statistics: Mapping[str, float] | None = None,
) -> Record:
    """An alert by the newest names; `statistics` are the diaObject's, as r_Mean."""
    current = current or source()
    stated = {f"{name[0]}_psfFlux{name[2:]}": value for name, value in (statistics or {}).items()}
    return {
        "diaSourceId": current["diaSourceId"],
        "diaSource": current,
        "prvDiaSources": earlier,
        "prvDiaForcedSources": forced,
        "diaObject": {"diaObjectId": 7, **stated} if current["diaObjectId"] else None,
    }


def written(record: Record, major: int, minor: int) -> bytes:
    """The alert as a version writes it, on Confluent's wire with Rubin's id."""
    called, named = names(major), types(major, minor)
    body = {
        **record,
        "alertId": 1_231_321_321,
        "diaSource": renamed(record["diaSource"], called),
        "prvDiaSources": record["prvDiaSources"] and [renamed(one, called) for one in record["prvDiaSources"]],
        "prvDiaForcedSources": record["prvDiaForcedSources"]
        and [{"diaForcedSourceId": 1, **renamed(one, called)} for one in record["prvDiaForcedSources"]],
        "diaObject": record["diaObject"]
        and {
            name if name == "diaObjectId" else called.statistic.format(band=name[0], name=name[9:]): value
            for name, value in record["diaObject"].items()
        },
        **{f"cutout{one}": b"\0" * 100 for one in ("Difference", "Science", "Template")},
    }
    known: dict[str, Any] = {}
    for schema in named.values():
        parsed = fastavro.parse_schema(schema, named_schemas=known)
    out = io.BytesIO()
    out.write(b"\0" + (100 * major + minor).to_bytes(4, "big"))
    fastavro.schemaless_writer(out, parsed, body)
    return out.getvalue()
