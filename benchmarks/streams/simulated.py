"""The simulators' events as features of the real streams: nights of alerts, web sessions, archive records.

Features take a while (light curves 6 ms an alert): a stream once made is kept in build/streams, under a name that says
all its arguments and features. `skim simulate` makes the same events.
"""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import fastavro
import numpy as np

from skimstream.cli.simulate import simulated
from skimstream.consumer.streams.registry import stream_of
from skimstream.schemas.reader import read_file

from .labelled import Bools, Floats, Labelled, labelled

KEPT = Path(__file__).resolve().parents[2] / "build" / "streams"
KINDS = {"nights": "ztf", "behaviour": "behaviour", "observation": "observation"}
EVENTS = {"nights": 10_000, "behaviour": 40_000, "observation": 30_000}
PREFIXES = {"nights": 0.2, "behaviour": 0.15, "observation": 0.15}
FIRST_DAY = {"nights": "2026-11-21", "behaviour": "2026-11-21", "observation": "2025-11-21"}


def simulated_stream(name: str, seed: int, events: int | None = None) -> Labelled:
    """The stream `nights`, `behaviour` or `observation`; the seed draws the share of anomalies and the users."""
    events = events or EVENTS[name]
    stream = stream_of(KINDS[name])
    columns = hashlib.sha256(" ".join(stream.features).encode()).hexdigest()[:8]
    path = KEPT / f"{name}-{seed}-{events}-{columns}.npz"
    if not path.exists():
        rng = np.random.default_rng([seed, 3])
        share, users = rng.uniform(0.005, 0.02), int(rng.integers(300, 1_001))
        matrix, anomaly = features(KINDS[name], seed, FIRST_DAY[name], events, float(share), users)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, matrix=matrix, anomaly=anomaly)
    with np.load(path) as kept:
        return labelled(name, kept["matrix"], kept["anomaly"], PREFIXES[name], stream.features)


def features(kind: str, seed: int, day: str, events: int, share: float, users: int) -> tuple[Floats, Bools]:
    """Features float64[n, f] of the scorable events, through the stream's own code, and which are injected."""
    made, schema = simulated(kind, seed, day, events, share, users)
    stream, truth = stream_of(kind), {}

    def records() -> Iterable[object]:
        for event in made:
            truth[event.event_id] = event.truth is not None
            yield event.record

    file = io.BytesIO()
    fastavro.writer(file, schema.parsed, records(), sync_marker=schema.sync)
    state, rows, marks = stream.open(), [], []
    for columns in read_file(file.getvalue(), stream.wanted):
        assert not stream.check(columns), "the simulators make valid events"
        found = state.features(columns)
        rows.append(found.matrix)
        marks += [truth[stream.event_id(columns, row)] for row in found.rows.tolist()]
    return np.concatenate(rows), np.array(marks, np.bool_)
