"""Rows of the stream `lsst` as tables show them."""

from typing import Any

from skimstream.api.columns import LAYOUTS
from skimstream.api.rows import Entry
from skimstream.consumer.streams.lsst import Lsst
from skimstream.schemas.gather import gather
from stage.lsst import MJD, alert, source

LARGE = (1 << 62) + 1


def test_a_row_has_the_surveys_names_its_own_time_and_fluxes() -> None:
    stream, record = Lsst(), alert(source(MJD, -1_234.5, diaSourceId=LARGE, ssObjectId=LARGE - 2))
    columns = gather([record], stream.wanted)
    details: dict[str, Any] = {
        "event": stream.event_id(columns, 0),
        "score": 0.99,
        "candidate": stream.describe(columns, 0),
        "features": {"y_mean": 3.5},
        "lightcurve": stream.light_curve(columns, 0),
    }
    entry = Entry("2026-11-20", 1, stream.object_id(columns, 0), details)
    shown = {one.name: one.of(entry) for one in LAYOUTS["lsst"]}
    assert shown["i:diaSourceId"] == LARGE
    assert shown["i:ssObjectId"] == str(LARGE - 2)
    assert (shown["i:psfFlux"], shown["i:band"], shown["i:midpointMjdTai"]) == (-1_234.5, "r", MJD)
    assert shown["d:lc_features_y"].startswith("[3.5,null,")
    assert shown["d:lightcurve"]["flux"] == [-1_234.5]
    assert shown["d:time"] == "2026-11-21 04:47:23.000"  # 04:48 TAI
