"""Alerts like LSST's, where no real ones are at hand: ELAsTiCC's names, earlier detections, no cutouts."""

import io
import json
import math
from typing import Any

import fastavro
import numpy as np

BANDS = "ugrizY"
NIGHT = 61_000  # MJD
MOST_POINTS = 60  # ELAsTiCC's alerts have up to 58 earlier detections, 11 in the mean
_POINT = [
    {"name": "midPointTai", "type": "double"},
    {"name": "filterName", "type": ["null", "string"], "default": None},
    {"name": "psFlux", "type": ["null", "float"], "default": None},
    {"name": "psFluxErr", "type": ["null", "float"], "default": None},
    {"name": "ra", "type": "double"},
    {"name": "decl", "type": "double"},
    {"name": "snr", "type": ["null", "float"], "default": None},
    {"name": "diaSourceId", "type": "long"},
    {"name": "diaObjectId", "type": ["null", "long"], "default": None},
]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "namespace": "simulated",
    "fields": [
        {"name": "alertId", "type": "long"},
        {"name": "diaSource", "type": {"type": "record", "name": "diaSource", "fields": _POINT}},
        {"name": "prvDiaSources", "type": ["null", {"type": "array", "items": "diaSource"}], "default": None},
    ],
}


def simulated(count: int, seed: int) -> list[bytes]:
    """So many alerts as Avro containers: objects of steady brightness with noise, one in fifty with a flare."""
    random, schema = np.random.default_rng(seed), fastavro.parse_schema(json.loads(json.dumps(SCHEMA)))
    return [_container(_alert(random, number), schema) for number in range(1, count + 1)]


def tonight(alert: bytes) -> bytes:
    """The same alert, all its times moved by whole days so that it is of the night `NIGHT`.

    ELAsTiCC's few alerts are of years: every one would be among the best of its night.
    """
    reader = fastavro.reader(io.BytesIO(alert))
    record: Any = next(iter(reader))
    days = NIGHT - math.floor(record["diaSource"]["midPointTai"])
    for point in (record["diaSource"], *(record["prvDiaSources"] or ())):
        point["midPointTai"] += days
    return _container(record, reader.writer_schema)


def _alert(random: np.random.Generator, number: int) -> dict[str, Any]:
    n = int(min(MOST_POINTS, random.geometric(1 / 12)))
    times = NIGHT + random.random() - np.sort(365.0 * random.random(n))[::-1]
    times[-1] = NIGHT + random.random()
    flux = random.lognormal(6.0, 1.0) * (1.0 + 0.05 * random.normal(size=n))
    if number % 50 == 0:
        flux[n // 2 :] *= 10.0
    points = [
        {
            "midPointTai": time,
            "filterName": BANDS[random.integers(len(BANDS))],
            "psFlux": value,
            "psFluxErr": 0.03 * abs(value) + 1.0,
            "ra": 150.0,
            "decl": 2.0,
            "snr": 30.0,
            "diaSourceId": 1_000 * number + i,
            "diaObjectId": number,
        }
        for i, (time, value) in enumerate(zip(times.tolist(), flux.tolist(), strict=True))
    ]
    return {"alertId": number, "diaSource": points[-1], "prvDiaSources": points[:-1]}


def _container(record: dict[str, Any], schema: Any) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, [record])
    return out.getvalue()
