"""What the streams make of records: faults, gates, windows, nights, ids."""

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from skimstream.consumer.streams.base import night_name
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.streams.registry import NAMES, UnknownStream, stream_of
from skimstream.consumer.streams.ztf import Gate, Ztf, window
from skimstream.producer.simulate.night import simulate_night
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.columns import Columns
from skimstream.schemas.decode import Decoder
from skimstream.schemas.gather import gather

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")

JD = 2_461_365.5  # 2026-11-21T00:00 UTC


def detection(jd: float, magnitude: float | None, **more: Any) -> dict[str, Any]:
    error = None if magnitude is None else 0.1
    row = {"jd": jd, "fid": 1, "magpsf": magnitude, "sigmapsf": error, "isdiffpos": "t", "distnr": 9.0}
    return {**row, "magnr": 17.0, "sigmagnr": 0.1, **more}


def alert(row: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    candidate = {**detection(JD + 5, 18.3), "candid": 7, "ra": 10.0, "dec": -5.0, "rb": 0.9, "drb": 0.9, "nbad": 0}
    history = [detection(JD + day, 18.0 + day / 10, **(row or {})) for day in range(4)]
    record = {"objectId": "ZTF26aaaaaaa", "candidate": {**candidate, **more}, "prv_candidates": history}
    return {name: more.get(name, value) for name, value in record.items() if more.get(name, value) is not Ellipsis}


def ztf(*records: dict[str, Any]) -> Columns:
    return gather(list(records), Ztf.wanted)


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [
        ({"candid": None}, "invalid", "candid"),
        ({"candid": 0}, "invalid", "candid"),
        *(
            ({"objectId": odd}, "invalid", "objectId")
            for odd in ("", "ZTF 26", "ZTF\n26", "ZTF\x1b[31m", "ZTFé", "Z" * 65)
        ),
        ({"jd": float("nan")}, "non_finite", "jd"),
        ({"jd": None}, "non_finite", "jd"),
        ({"jd": 59_000.0}, "invalid", "jd"),
        ({"ra": 361.0}, "invalid", "sky"),
        ({"dec": -90.1}, "invalid", "sky"),
        ({"ra": float("inf")}, "non_finite", "ra"),
        ({"fid": 4}, "invalid", "fid"),
        ({"fid": None}, "invalid", "fid"),
    ],
)
def test_alerts_that_cannot_be_are_named(change: dict[str, Any], reason: str, word: str) -> None:
    ((row, error),) = Ztf().check(ztf(alert(), alert(**change), alert()))
    assert (row, error.reason) == (1, reason)
    assert word in error.detail


def test_ids_that_exist_are_well_formed() -> None:
    real = ("ZTF18aaaaaak", "WIRC21aaaab", "None.20", "Z" * 64)  # ZTF, WINTER, TURBO on its test bench; the longest
    assert Ztf().check(ztf(*(alert(objectId=name) for name in real))) == []
    assert Ztf().check(ztf(alert(objectId=...))) == []  # unscored, no fault
    assert Ztf().check(ztf(alert(candid=-121540793515135004))) == []  # schema 1.3


@needs_shared
@pytest.mark.parametrize("archive", sorted(path.name for path in (SHARED / "data" / "ztf").glob("*.tar.gz")))
def test_real_alerts_have_no_fault(archive: str) -> None:
    with tarfile.open(SHARED / "data" / "ztf" / archive) as tar:
        messages = [file.read() for member in tar if (file := tar.extractfile(member)) is not None]
    decoded = Decoder(Ztf.wanted).decode(messages)
    assert len(decoded.columns) == len(messages)
    assert Ztf().check(decoded.columns) == []


def test_simulated_records_have_no_fault() -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    night = ztf(*(one.record for one in simulate_night(7, start.date(), 300, anomaly_rate=0.2)))
    sessions = behaviour(*(one.record for one in simulate_sessions(7, start, 300, anomaly_rate=0.2)))
    assert len(night) == len(sessions) == 300
    assert Ztf().check(night) == []
    assert Behaviour().check(sessions) == []


def unscored(stream: Ztf, *records: dict[str, Any]) -> tuple[int, dict[str, int]]:
    found = stream.open().features(ztf(*records))
    return len(found.rows), {reason: count for reason, count in found.unscored.items() if count}


def test_every_alert_is_scorable_or_has_one_reason() -> None:
    assert unscored(Ztf(), alert()) == (1, {})
    assert unscored(Ztf(), alert(objectId=...)) == (0, {"no_object_id": 1})
    assert unscored(Ztf(), alert(rb=0.5)) == (0, {"gated": 1})
    assert unscored(Ztf(), alert(nbad=1)) == (0, {"gated": 1})
    assert unscored(Ztf(), alert(rb=None, drb=None, nbad=None)) == (1, {})  # early schemas have no such values
    assert unscored(Ztf(), alert(fid=3, row={"fid": 3})) == (0, {"band_missing": 1})
    assert unscored(Ztf(), alert(prv_candidates=None)) == (0, {"too_few_points": 1})
    assert unscored(Ztf(), alert(sigmapsf=0.0)) == (0, {"malformed": 1})


def test_the_gate_is_the_users() -> None:
    assert unscored(Ztf(Gate(min_real_bogus=0.3)), alert(rb=0.5)) == (1, {})
    assert unscored(Ztf(Gate(min_deep_real_bogus=0.95)), alert()) == (0, {"gated": 1})
    assert unscored(Ztf(Gate(max_bad_pixels=2)), alert(nbad=2)) == (1, {})


def test_an_unusable_band_is_wholly_missing() -> None:
    (row,) = Ztf().open().features(ztf(alert())).matrix
    half = len(Ztf.features) // 2
    assert np.isfinite(row[:half]).all()
    assert np.isnan(row[half:]).all()
    assert Ztf.features[0] == "g_mean"
    assert Ztf.features[half] == "r_mean"
    assert len(Ztf.features) == len(Ztf.units) == 52


def test_the_window_is_history_then_candidate_and_nulls_stay_null() -> None:
    limit = detection(JD, None, distnr=None, magnr=None, sigmagnr=None, isdiffpos=None)
    history = [limit, detection(JD + 1, 19.0, isdiffpos="0")]
    records = [alert(prv_candidates=history), alert(prv_candidates=None, isdiffpos="1")]
    made = window(ztf(*records))
    assert made.offsets.tolist() == [0, 3, 4]
    assert made.jd.tolist() == [JD, JD + 1, JD + 5, JD + 5]
    assert np.isnan(made.magpsf).tolist() == [True, False, False, False]
    assert made.positive.tolist() == [False, False, True, True]


def test_nights_run_from_noon_to_noon() -> None:
    nights = Ztf().nights(ztf(alert(jd=JD - 0.5), alert(jd=JD + 0.499), alert(jd=JD + 0.5)))
    assert [night_name(night) for night in nights.tolist()] == ["2026-11-20", "2026-11-20", "2026-11-21"]


def test_ids_keep_every_digit() -> None:
    columns = ztf(alert(candid=(1 << 62) + 1))
    assert Ztf().event_id(columns, 0) == str((1 << 62) + 1)
    assert Ztf().object_id(columns, 0) == "ZTF26aaaaaaa"


@needs_shared
def test_windows_of_real_alerts_hold_every_row_of_their_packets() -> None:
    with tarfile.open(SHARED / "data" / "ztf" / "kowalski_v3.3_v4.01_36.tar.gz") as tar:
        data = [file.read() for member in tar if (file := tar.extractfile(member)) is not None]
    records: list[Any] = [next(iter(fastavro.reader(io.BytesIO(one)))) for one in data]
    made = window(ztf(*records))
    for i, record in enumerate(records):
        rows = [*(record["prv_candidates"] or []), record["candidate"]]
        part = slice(made.offsets[i], made.offsets[i + 1])
        assert made.jd[part].tolist() == [row["jd"] for row in rows]
        assert made.band[part].tolist() == [row["fid"] for row in rows]
        assert made.positive[part].tolist() == [row["isdiffpos"] in ("t", "1") for row in rows]
        expected = [np.nan if row["magpsf"] is None else row["magpsf"] for row in rows]
        np.testing.assert_array_equal(made.magpsf[part], expected)


def session(**more: Any) -> dict[str, Any]:
    texts = ("device_type", "screen_size", "browser_info", "language", "device_orientation", "geolocation_city")
    record = {"user_id": "u", "session_id": "s", "transaction_date": "2026-11-21 10:00", **dict.fromkeys(texts, "x")}
    return {**record, "time_on_page": 30.0, "clicks_count": 3.0, **more}


def behaviour(*records: dict[str, Any]) -> Columns:
    return gather(list(records), Behaviour.wanted)


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [
        ({"user_id": ""}, "invalid", "user_id"),
        ({"user_id": None}, "invalid", "user_id"),
        ({"user_id": "u" * 129}, "invalid", "user_id is longer than 128"),
        ({"user_id": "u\r\nGET /"}, "invalid", "control"),
        ({"session_id": None}, "invalid", "there is no session_id"),
        ({"session_id": ""}, "invalid", "there is no session_id"),
        ({"session_id": "é" * 65}, "invalid", "session_id is longer"),
        ({"session_id": "s\x9b1m"}, "invalid", "session_id is longer than 128 bytes, or holds control"),
        ({"transaction_date": "yesterday"}, "invalid", "transaction_date"),
        ({"transaction_date": "1999-12-31"}, "invalid", "2000"),
        ({"clicks_count": float("nan")}, "non_finite", "number"),
        ({"transaction_amount": float("inf")}, "non_finite", "number"),
    ],
)
def test_sessions_that_cannot_be_are_named(change: dict[str, Any], reason: str, word: str) -> None:
    ((row, error),) = Behaviour().check(behaviour(session(), session(**change)))
    assert (row, error.reason) == (1, reason)
    assert word in error.detail


def test_ids_of_people_are_well_formed() -> None:
    ids = ("u", "jo smith@example.org", "Åsa", "用户-7", "0" * 128)
    assert Behaviour().check(behaviour(*(session(user_id=one, session_id=one) for one in ids))) == []


def test_a_missing_number_is_missing_not_wrong() -> None:
    stream, columns = Behaviour(), behaviour(session(transaction_amount=None))
    assert stream.check(columns) == []
    found = stream.open().features(columns)
    assert np.isnan(found.matrix[0, stream.features.index("transaction_amount")])
    assert found.matrix[0, stream.features.index("time_on_page")] == 30.0


def test_the_schema_has_the_18_fields_and_the_eight_nullable_ones() -> None:
    schema = Behaviour().schema()
    assert schema is not None
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    required = """user_id session_id device_type screen_size browser_info language device_orientation geolocation_city
        transaction_date time_on_page clicks_count scroll_count form_submissions page_views session_duration bounce_rate
        conversion_rate avg_session_duration""".split()
    nullable = """click_events scroll_events touch_events keyboard_events device_motion timezone_offset
        transaction_amount mouse_movement""".split()
    assert set(fields) == {*required, *nullable}
    assert all(fields[name] == ["null", "double"] for name in nullable)
    assert set(required) | set(nullable) == {*Behaviour.wanted.numbers, *Behaviour.wanted.texts}


def test_ids_are_keys_never_features() -> None:
    assert not [
        name for name in Behaviour.features if "user_id" in name or ("session" in name and "duration" not in name)
    ]
    one, other = (Behaviour().open().features(behaviour(session(user_id=u, session_id=s))) for u, s in ("ab", "cd"))
    np.testing.assert_array_equal(one.matrix, other.matrix)


def test_days_of_sessions_run_from_midnight() -> None:
    late = [session(transaction_date=when) for when in ("2026-11-21T23:59:59.9Z", "2026-11-22")]
    nights = Behaviour().nights(behaviour(session(), *late))
    assert [night_name(night) for night in nights.tolist()] == ["2026-11-21", "2026-11-21", "2026-11-22"]


def test_streams_are_known_by_name() -> None:
    assert [stream_of(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(UnknownStream, match="choose one of ztf"):
        stream_of("nothing")
