"""Simulated sessions: deterministic, well-formed, with habits that the anomalies break."""

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice

import fastavro
import numpy as np
import pytest
from fastavro.validation import validate

from skimstream.producer.encode import container, plain
from skimstream.producer.inject import KINDS
from skimstream.producer.schema import load
from skimstream.producer.simulate.event import Simulated
from skimstream.producer.simulate.sessions import simulate_sessions

START = datetime(2026, 11, 21, tzinfo=UTC)
SCHEMA = load("behaviour")
NULLABLE = (
    *("click_events", "scroll_events", "touch_events", "keyboard_events"),
    *("device_motion", "timezone_offset", "transaction_amount", "mouse_movement"),
)

ALWAYS = (
    *("user_id", "session_id", "device_type", "screen_size", "browser_info", "language", "device_orientation"),
    *("geolocation_city", "transaction_date", "time_on_page", "clicks_count", "scroll_count", "form_submissions"),
    *("page_views", "session_duration", "bounce_rate", "conversion_rate", "avg_session_duration"),
)


@pytest.fixture(scope="module")
def sessions() -> list[Simulated]:
    return list(simulate_sessions(5, START, events=20_000, users=200, anomaly_rate=0.02))


def test_the_same_arguments_give_the_same_sessions(sessions: list[Simulated]) -> None:
    again = simulate_sessions(5, START, users=200, anomaly_rate=0.02)  # endless
    assert list(islice(again, 2000)) == sessions[:2000]
    assert next(simulate_sessions(6, START, users=200)) != sessions[0]


def test_every_record_fits_the_schema_and_survives_it(sessions: list[Simulated]) -> None:
    for session in sessions[::40]:
        validate(session.record, SCHEMA.parsed, strict=True)
        assert fastavro.schemaless_reader(BytesIO(plain(session.record, SCHEMA)), SCHEMA.parsed) == session.record


def test_the_fields_are_the_eighteen_and_the_eight(sessions: list[Simulated]) -> None:
    assert len(ALWAYS) == 18
    assert [field["name"] for field in SCHEMA.parsed["fields"]] == [*ALWAYS, *NULLABLE]
    assert all(session.record[name] is not None for session in sessions for name in ALWAYS)


def test_the_truth_is_not_in_the_record(sessions: list[Simulated]) -> None:
    names = [name.encode() for name in KINDS]
    assert not any(name in plain(session.record, SCHEMA) for session in sessions for name in names)
    assert not any(name in container(sessions[0].record, SCHEMA) for name in names)


def test_ids_are_unique_and_times_ordered(sessions: list[Simulated]) -> None:
    assert len({session.event_id for session in sessions}) == len(sessions)
    times = [session.event_time for session in sessions]
    assert times == sorted(times)
    assert times[0] >= START.timestamp()
    for session in sessions[::100]:
        record = session.record
        assert (session.key, session.event_id) == (record["user_id"], record["session_id"])
        assert record["transaction_date"].endswith("Z")
        assert datetime.fromisoformat(record["transaction_date"]).timestamp() == session.event_time


def test_a_users_sessions_do_not_overlap(sessions: list[Simulated]) -> None:
    ended: dict[str, float] = {}
    for session in sessions:
        begin = session.event_time - session.record["session_duration"]
        assert begin >= ended.get(session.key, 0.0) - 0.002
        ended[session.key] = session.event_time


def test_numbers_are_possible(sessions: list[Simulated]) -> None:
    for record in (session.record for session in sessions):
        assert 0 < record["time_on_page"] <= record["session_duration"]
        assert record["page_views"] >= 1
        assert all(0 <= record[name] <= 1 for name in ("bounce_rate", "conversion_rate"))
        if record["click_events"] is not None:
            assert record["click_events"] <= record["clicks_count"]
            assert (record["mouse_movement"] == 0) or record["device_type"] == "PC"
            assert (record["touch_events"] == 0) or record["device_type"] == "Mobile"


def test_nullable_fields_are_mostly_filled(sessions: list[Simulated]) -> None:
    nulls = {name: np.mean([session.record[name] is None for session in sessions]) for name in NULLABLE}
    assert nulls.pop("timezone_offset") == 0
    assert 0.1 < nulls.pop("transaction_amount") < 0.4
    assert all(0.03 < share < 0.05 for share in nulls.values())


def test_users_come_as_often_as_asked() -> None:
    taken = list(simulate_sessions(3, START, events=12_000, users=300, events_per_user_day=4))
    days = (taken[-1].event_time - taken[0].event_time) / 86400
    assert 3.2 < len(taken) / days / 300 < 4.8


def test_users_have_habits(sessions: list[Simulated]) -> None:
    """Between users the usual amounts and hours differ far more than within one."""
    ordinary = defaultdict(list)
    for session in sessions:
        if session.truth is None:
            ordinary[session.key].append(session)
    amounts = {
        user: np.log([s.record["transaction_amount"] for s in theirs if s.record["transaction_amount"]])
        for user, theirs in ordinary.items()
    }
    within = np.mean([values.std() for values in amounts.values() if len(values) > 20])
    between = np.std([values.mean() for values in amounts.values() if len(values) > 20])
    assert between > 1.5 * within
    for theirs in ordinary.values():
        assert len({s.record["geolocation_city"] for s in theirs}) <= 2
        assert len({(s.record["screen_size"], s.record["browser_info"]) for s in theirs}) <= 2


def test_the_share_of_anomalies_is_the_asked_one(sessions: list[Simulated]) -> None:
    kinds = Counter(session.truth for session in sessions)
    ordinary = kinds.pop(None)
    assert abs(len(sessions) - ordinary - 400) <= 4 * math.sqrt(400 * 0.98)
    assert set(kinds) == set(KINDS)
    assert all(abs(count - 80) <= 4 * math.sqrt(80) for count in kinds.values())


def test_anomalies_break_their_users_habits(sessions: list[Simulated]) -> None:
    past: dict[str, list[Simulated]] = defaultdict(list)
    checked: Counter[str] = Counter()
    for session in sessions:
        record, before = session.record, [other.record for other in past[session.key]]
        if session.truth is not None and len(before) >= 20:
            paid = [other["transaction_amount"] for other in before if other["transaction_amount"] is not None]
            if session.truth in ("huge_amount", "combined"):
                assert record["transaction_amount"] > 3 * np.median(paid)
            if session.truth in ("frantic", "combined"):
                assert record["page_views"] > max(other["page_views"] for other in before)
            if session.truth == "takeover":
                assert record["geolocation_city"] not in {other["geolocation_city"] for other in before}
                assert record["screen_size"] not in {other["screen_size"] for other in before}
            if session.truth in ("odd_hour", "combined"):
                begins = [s.event_time - s.record["session_duration"] for s in (*past[session.key], session)]
                hours = [int(begin % 86400 // 3600) for begin in begins]
                assert hours[:-1].count(hours[-1]) <= 0.05 * len(before)
            checked[session.truth] += 1
        if session.truth is None:
            past[session.key].append(session)
    assert set(checked) == set(KINDS)


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="time zone"):
        simulate_sessions(1, datetime(2026, 11, 21))
    for wrong in ({"users": 0}, {"events": -1}, {"anomaly_rate": 2.0}, {"events_per_user_day": 0.0}):
        with pytest.raises(ValueError, match="need events"):
            simulate_sessions(1, START, **wrong)
