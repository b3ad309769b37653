"""The simulated night: deterministic, well-formed, and like ZTF's in what matters to a detector."""

import math
from collections import Counter, defaultdict
from datetime import date
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import pytest
from fastavro.validation import validate

from skimstream.producer.encode import container, plain
from skimstream.producer.inject import SHAPES
from skimstream.producer.schema import load
from skimstream.producer.simulate.cadence import plan
from skimstream.producer.simulate.event import Simulated, truth_message
from skimstream.producer.simulate.night import simulate_night

NIGHT = date(2026, 11, 21)
SCHEMA = load("ztf_like")


@pytest.fixture(scope="module")
def night() -> list[Simulated]:
    return list(simulate_night(7, NIGHT, alerts=3000, anomaly_rate=0.05))


def window(alert: Simulated) -> list[dict[str, Any]]:
    return [*(alert.record["prv_candidates"] or []), alert.record["candidate"]]


def detections(alert: Simulated) -> list[dict[str, Any]]:
    return [row for row in window(alert) if row["magpsf"] is not None]


def test_the_same_arguments_give_the_same_alerts(night: list[Simulated]) -> None:
    assert list(simulate_night(7, NIGHT, alerts=3000, anomaly_rate=0.05)) == night
    assert next(simulate_night(8, NIGHT, alerts=3000)).record != night[0].record
    assert next(simulate_night(7, date(2026, 11, 22), alerts=3000)).record != night[0].record


@pytest.mark.parametrize("alerts", [0, 1, 10, 257])
def test_as_many_alerts_as_asked(alerts: int) -> None:
    assert len(list(simulate_night(1, NIGHT, alerts=alerts))) == alerts


def test_a_full_night_starts_at_once() -> None:
    assert next(simulate_night(1, NIGHT)).record["candidate"]["fid"] in (1, 2)


def test_every_record_fits_the_schema_and_survives_it(night: list[Simulated]) -> None:
    for alert in night[::30]:
        validate(alert.record, SCHEMA.parsed, strict=True)
        assert fastavro.schemaless_reader(BytesIO(plain(alert.record, SCHEMA)), SCHEMA.parsed) == alert.record
        assert list(fastavro.reader(BytesIO(container(alert.record, SCHEMA)))) == [alert.record]


def test_the_truth_is_not_in_the_record(night: list[Simulated]) -> None:
    names = [name.encode() for name in SHAPES]
    for alert in night:
        data = container(alert.record, SCHEMA)
        assert not any(name in data for name in names)
    assert (
        truth_message(Simulated({}, "k", "1", 0.5, "dip"))
        == b'{"event_id": "1", "key": "k", "kind": "dip", "time": 0.5}'
    )


def test_ids_are_unique_and_consistent(night: list[Simulated]) -> None:
    assert len({alert.event_id for alert in night}) == len(night)
    for alert in night:
        record = alert.record
        assert alert.key == record["objectId"]
        assert alert.event_id == str(record["candid"]) == str(record["candidate"]["candid"])
    tomorrow = {alert.key for alert in simulate_night(7, date(2026, 11, 22), alerts=500)}
    assert tomorrow.isdisjoint({alert.key for alert in night})


def test_alerts_come_in_time_order_within_the_night(night: list[Simulated]) -> None:
    times = [alert.event_time for alert in night]
    assert times == sorted(times)
    midnight = 1795219200.0  # 2026-11-21 00:00 UTC
    assert midnight + 5 * 3600 <= times[0] < midnight + 6 * 3600
    assert midnight + 10 * 3600 < times[-1] < midnight + 11 * 3600
    for alert in night[::50]:
        assert alert.event_time == pytest.approx((alert.record["candidate"]["jd"] - 2440587.5) * 86400)


def test_history_is_ordered_and_thirty_days_long(night: list[Simulated]) -> None:
    for alert in night:
        times = [row["jd"] for row in window(alert)]
        assert times == sorted(times)
        assert times[0] >= times[-1] - 30
        assert len(times) == 1 or times[-2] < times[-1]


def test_upper_limits_have_limits_and_detections_have_everything(night: list[Simulated]) -> None:
    for row in (row for alert in night for row in window(alert)):
        assert 19 <= row["diffmaglim"] <= 20.8 + 1e-6
        if row["magpsf"] is None:
            assert all(row[name] is None for name in ("candid", "sigmapsf", "isdiffpos", "ra", "dec", "rb", "distnr"))
        else:
            assert row["isdiffpos"] in ("t", "f")
            assert 0 < row["sigmapsf"] < 0.2172  # 5 sigma
            assert 0 <= row["rb"] <= 1
            assert 0 <= row["ra"] < 360
            assert -90 <= row["dec"] <= 90
            assert all(math.isfinite(row[name]) for name in ("magpsf", "magnr", "sigmagnr", "distnr"))


def test_a_detection_is_the_same_in_every_alert_that_shows_it(night: list[Simulated]) -> None:
    shown: dict[int, dict[str, Any]] = {}
    again = 0
    for alert in night:
        for row in detections(alert):
            common = {name: row[name] for name in ("jd", "fid", "magpsf", "sigmapsf", "isdiffpos", "ra", "dec", "rb")}
            again += row["candid"] in shown
            assert shown.setdefault(row["candid"], common) == common
    assert again > 1000


def test_objects_alert_in_both_bands(night: list[Simulated]) -> None:
    bands = defaultdict(set)
    for alert in night:
        bands[alert.key].add(alert.record["candidate"]["fid"])
    assert sum(len(fids) == 2 for fids in bands.values()) > 0.2 * len(bands)


def test_detections_a_band_are_as_few_as_in_ztf(night: list[Simulated]) -> None:
    """Quartiles of real windows: 2, 4, 11; mean 7.7, most 66."""
    counts = Counter((alert.event_id, row["fid"]) for alert in night for row in detections(alert))
    low, median, high = np.percentile(list(counts.values()), [25, 50, 75])
    assert 1 <= low <= 3
    assert 3 <= median <= 6
    assert 8 <= high <= 14
    assert 6 < np.mean(list(counts.values())) < 11


def test_the_mixture_is_like_a_real_one(night: list[Simulated]) -> None:
    candidates = [alert.record["candidate"] for alert in night]
    assert 0.3 < np.mean([c["isdiffpos"] == "f" for c in candidates]) < 0.55  # 0.34 in 2,282 real alerts
    assert 0.8 < np.mean([c["rb"] >= 0.55 for c in candidates]) < 0.97
    assert 0.4 < np.mean([c["distnr"] <= 1.5 for c in candidates]) < 0.9
    assert 0.03 < np.mean([c["ssdistnr"] >= 0 for c in candidates]) < 0.2
    assert 18 < np.median([c["magpsf"] for c in candidates]) < 19
    bright = np.median([c["sigmapsf"] for c in candidates if c["magpsf"] < 17])
    faint = np.median([c["sigmapsf"] for c in candidates if c["magpsf"] > 19.3])
    assert bright < faint / 2
    twice = sum(len(rows) != len({(r["jd"], r["fid"]) for r in rows}) for rows in map(detections, night))
    assert 0.005 < twice / len(night) < 0.05


def test_the_share_of_anomalous_objects_is_the_asked_one() -> None:
    for rate in (0.0, 0.05, 0.5):
        alerts = list(simulate_night(11, NIGHT, alerts=1500, anomaly_rate=rate))
        assert all(alert.record["candidate"]["rb"] >= 0.55 for alert in alerts if alert.truth is not None)
        truth = {alert.key: alert.truth for alert in alerts}
        injected = sum(kind is not None for kind in truth.values())
        assert abs(injected - rate * len(truth)) <= 4 * math.sqrt(len(truth) * rate * (1 - rate))


def test_anomalies_have_all_shapes_and_can_be_scored(night: list[Simulated]) -> None:
    injected = [alert for alert in night if alert.truth is not None]
    assert {alert.truth for alert in injected} == set(SHAPES)
    for alert in injected:
        bands = Counter(row["fid"] for row in detections(alert))
        assert max(bands.values()) >= 5
    kinds = defaultdict(set)
    for alert in night:
        kinds[alert.key].add(alert.truth)
    assert all(len(truths) == 1 for truths in kinds.values())  # every alert of an anomalous object says so


def test_no_two_exposures_of_a_night_begin_together() -> None:
    for fields in (12, 100, 1333):
        planned = plan(3, NIGHT, fields)
        starts = np.sort([jd for field in planned for jd in field.jd[field.first_tonight :]])
        assert np.diff(starts).min() * 86400 > 0.87  # a pid tells times apart that differ by 1e-5 days


@pytest.mark.parametrize(
    ("night", "alerts", "rate"), [(NIGHT, -1, 0.1), (NIGHT, 5, 1.1), (NIGHT, 5, -0.1), (date(2050, 1, 1), 5, 0.1)]
)
def test_arguments_that_make_no_sense(night: date, alerts: int, rate: float) -> None:
    with pytest.raises(ValueError, match=r"need alerts|from 2018 to 2041"):
        simulate_night(1, night, alerts, rate)
