"""Sessions without habits: the distributions they are said to have, the four anomalies, and nothing of the truth."""

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from itertools import islice

import fastavro
import numpy as np
import pytest
from fastavro.validation import validate
from numpy.typing import NDArray

from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.event import Simulated
from skimstream.producer.simulate.plain_sessions import CATEGORIES, DAYS, KINDS, START, simulate_plain_sessions

SCHEMA = load("behaviour")
EVENTS, RATE = 20_000, 0.2


@pytest.fixture(scope="module")
def sessions() -> list[Simulated]:
    return list(simulate_plain_sessions(5, EVENTS, RATE))


def values(sessions: list[Simulated], field: str) -> NDArray[np.float64]:
    return np.array([session.record[field] for session in sessions], np.float64)


def hours(sessions: list[Simulated]) -> NDArray[np.float64]:
    return np.array([session.event_time % 86_400 / 3_600 for session in sessions])


def of_kind(sessions: list[Simulated], kind: str | None, device: str | None = None) -> list[Simulated]:
    return [one for one in sessions if one.truth == kind and device in (None, one.record["device_type"])]


def near(drawn: NDArray[np.float64], mean: float, sd: float) -> bool:
    """Whether the mean is within five standard errors."""
    return bool(abs(drawn.mean() - mean) < 5 * sd / np.sqrt(len(drawn)))


def test_the_same_arguments_give_the_same_sessions(sessions: list[Simulated]) -> None:
    assert list(islice(simulate_plain_sessions(5, EVENTS, RATE), 500)) == sessions[:500]
    assert next(simulate_plain_sessions(6, EVENTS, RATE)) != sessions[0]


def test_every_record_fits_the_schema_and_says_nothing_of_the_truth(sessions: list[Simulated]) -> None:
    for session in sessions[::200]:
        validate(session.record, SCHEMA.parsed, strict=True)
        data = plain(session.record, SCHEMA)
        assert fastavro.schemaless_reader(BytesIO(data), SCHEMA.parsed) == session.record
        assert not any(kind.encode() in data for kind in KINDS)


def test_ids_are_unique_and_times_are_ordered_hours(sessions: list[Simulated]) -> None:
    assert len({session.event_id for session in sessions}) == EVENTS
    times = [session.event_time for session in sessions]
    assert times == sorted(times)
    assert times[0] >= START.timestamp()
    assert times[-1] < (START + timedelta(days=DAYS)).timestamp()
    assert all(time % 3_600 == 0 for time in times)
    for session in sessions[::500]:
        assert (session.key, session.event_id) == (session.record["user_id"], session.record["session_id"])
        assert datetime.fromisoformat(session.record["transaction_date"]).timestamp() == session.event_time
    numbers = [int(session.event_id.removeprefix("session_")) for session in sessions]
    assert abs(np.corrcoef(numbers, [session.truth is not None for session in sessions])[0, 1]) < 0.02


def test_ordinary_sessions_are_drawn_as_described(sessions: list[Simulated]) -> None:
    ordinary = of_kind(sessions, None)
    devices = Counter(session.record["device_type"] for session in ordinary)
    assert abs(devices["PC"] / len(ordinary) - 0.5) < 0.02
    for device, clicks, scrolls, keys, touches in (("PC", 8, 12, 15, 0), ("Mobile", 5, 6, 5, 8)):
        some = of_kind(sessions, None, device)
        for field, mean in (
            ("click_events", clicks),
            ("scroll_events", scrolls),
            ("keyboard_events", keys),
            ("touch_events", touches),
        ):
            counts = values(some, field)
            assert near(counts, mean, np.sqrt(mean)) or mean == counts.max() == 0
            assert abs(counts.var() - mean) <= 0.08 * mean  # as Poisson's
        moves, seconds = values(some, "mouse_movement"), values(some, "time_on_page")
        if device == "PC":
            assert near(moves - 2.5 * seconds, 0.0, np.sqrt(2.5 * 90))
            assert values(some, "device_motion").max() == 0
        else:
            assert moves.max() == 0
            assert near(values(some, "device_motion"), 1.2, 0.5)
    seconds = values(ordinary, "time_on_page")
    assert (seconds.min(), seconds.max()) == (10, 600)
    assert abs((seconds > 100).mean() - np.exp(-101 / 90)) < 0.02  # whole seconds
    assert near(values(ordinary, "transaction_amount"), 1_500, 1_500)
    assert Counter(hours(ordinary)).most_common()[-1][1] > len(ordinary) / 24 * 0.85
    assert len({session.key for session in ordinary}) == 500
    for field, known in CATEGORIES.items():
        shares = Counter(session.record[field] for session in ordinary)
        assert set(shares) == set(known)
        assert min(shares.values()) > len(ordinary) / len(known) * 0.9


def test_the_four_anomalies_are_of_equal_chance_and_what_they_are_called(sessions: list[Simulated]) -> None:
    count = Counter(session.truth for session in sessions)
    assert count[None] == EVENTS * (1 - RATE)
    assert all(abs(count[kind] - EVENTS * RATE / 4) < 5 * np.sqrt(EVENTS * RATE * 3 / 16) for kind in KINDS)
    huge, odd, frantic, combined = (of_kind(sessions, kind) for kind in KINDS)

    assert ((values(huge, "transaction_amount") >= 10_000) & (values(huge, "transaction_amount") <= 20_000)).all()
    assert set(values(huge, "time_on_page")) == {10, 600}
    assert abs(np.isin(hours(huge), (2, 3, 4)).mean() - (0.5 + 0.5 / 8)) < 0.08

    assert set(hours(odd)) == {2, 3, 4}
    amount, clicks = values(odd, "transaction_amount"), values(odd, "click_events")
    assert abs(((amount >= 5_000) & (amount <= 12_000)).mean() - 0.52) < 0.08  # some ordinary ones are as large
    assert abs((clicks == 0).mean() - 0.5) < 0.08
    assert abs(((clicks > 0) & (amount < 5_000)).mean() - 0.24) < 0.07  # like any session of the night: can't be found

    assert (values(frantic, "click_events").min(), values(frantic, "click_events").max()) == (30, 49)
    assert values(frantic, "mouse_movement").min() >= 1_500
    mobile = of_kind(sessions, KINDS[2], "Mobile")
    assert values(mobile, "touch_events").min() >= 20
    assert abs((values(mobile, "device_motion") >= 3).mean() - 0.7) < 0.1
    assert values(of_kind(sessions, KINDS[2], "PC"), "touch_events").max() == 0

    assert set(hours(combined)) == {1, 2, 3}
    assert values(combined, "transaction_amount").min() >= 8_000
    assert values(combined, "mouse_movement").min() >= 1_000
    assert (values(combined, "click_events").min(), values(combined, "click_events").max()) == (20, 39)
    assert abs((values(combined, "keyboard_events") == 0).mean() - 0.3) < 0.08
    assert values(of_kind(sessions, KINDS[3], "Mobile"), "device_motion").min() >= 2.5


def test_any_share_and_any_start() -> None:
    assert list(simulate_plain_sessions(1, 0)) == []
    assert {session.truth for session in simulate_plain_sessions(1, 200, 0.0)} == {None}
    assert None not in {session.truth for session in simulate_plain_sessions(1, 200, 1.0)}
    there = datetime(2026, 11, 21, 17, tzinfo=timezone(timedelta(hours=2)))
    first = next(simulate_plain_sessions(1, 20_000, 0.0, there))
    assert first.record["transaction_date"] == "2026-11-21T00:00:00Z"


@pytest.mark.parametrize(
    ("events", "rate", "start", "problem"),
    [
        (-1, 0.1, START, "events >= 0"),
        (10, 1.1, START, "anomaly_rate"),
        (10, -0.1, START, "anomaly_rate"),
        (10, 0.1, datetime(2026, 1, 1), "time zone"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(events: int, rate: float, start: datetime, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        simulate_plain_sessions(1, events, rate, start)


def test_the_range_is_that_of_the_description() -> None:
    assert datetime(2024, 1, 1, tzinfo=UTC) == START
    assert START + timedelta(days=DAYS) == datetime(2025, 7, 1, tzinfo=UTC)
