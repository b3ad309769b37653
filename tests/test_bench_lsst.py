"""The benchmark's third workload: what its contenders read is the same."""

import io
from typing import Any

import fastavro
import numpy as np
import pytest

from skimstream.consumer.streams.lsst_fields import BANDS, window
from skimstream.consumer.streams.registry import stream_of
from skimstream.schemas.decode import Decoder
from whole.arena import ELASTICC, workload
from whole.hand import Hand
from whole.lsst import NIGHT, simulated, tonight


def test_simulated_alerts_are_read_alike() -> None:
    same_for(simulated(40, seed=2))


@pytest.mark.skipif(not ELASTICC.exists(), reason="no ../shared/data/lsst")
def test_real_alerts_are_read_alike_and_are_of_one_night() -> None:
    alerts, what = workload("lsst", 200)
    assert what.startswith("200 alerts")
    same_for(alerts)


def same_for(alerts: list[bytes]) -> None:
    stream, hand = stream_of("lsst"), Hand.reading("lsst")
    columns = Decoder(stream.wanted, stream.framing, stream.schema()).decode(alerts).columns
    assert len(columns) == len(alerts)
    assert set(stream.nights(columns).tolist()) <= {NIGHT - 40_587, NIGHT - 40_588}
    read = window(columns)
    for i, alert in enumerate(alerts):
        rows = slice(int(read.offsets[i]), int(read.offsets[i + 1]))
        for number, curve in enumerate(hand.curves(hand.decode(alert)).values(), 1):
            ours = np.sort(read.flux[rows][read.band[rows] == number])
            assert ours.tolist() == sorted(np.float32(value).astype(float) for _, value, _ in curve)
    assert len(BANDS) == 6


def test_a_moved_alert_has_the_same_light_curve() -> None:
    def read(alert: bytes) -> tuple[Any, list[Any]]:
        reader = fastavro.reader(io.BytesIO(alert))
        record: Any = next(iter(reader))
        return reader.writer_schema, [record["diaSource"], *record["prvDiaSources"]]

    for alert in simulated(20, seed=3):
        schema, points = read(alert)
        old = [{**point, "midPointTai": point["midPointTai"] - 700} for point in points]
        out = io.BytesIO()
        fastavro.writer(out, schema, [{"alertId": 1, "diaSource": old[0], "prvDiaSources": old[1:]}])
        _, again = read(tonight(out.getvalue()))
        assert [one["midPointTai"] for one in again] == pytest.approx([one["midPointTai"] for one in points])
        assert [one["psFlux"] for one in again] == [one["psFlux"] for one in points]
