"""Web sessions without habits: every row is drawn on its own, and the anomalies are extreme in themselves.

The published random forests on behavioural sessions were judged on data of this kind (docs/behaviour.md). User, city
and browser say nothing here, so history can't help; `sessions` has users with habits.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .event import Simulated

USERS = 500
START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 547  # until 2025-07-01
#: What the truth of an anomaly says.
KINDS = ("huge amount", "odd hour", "frantic", "combined")
DEVICES = ("PC", "Mobile")
# Poisson means on a PC and on a mobile.
COUNTS = {"click_events": (8, 5), "scroll_events": (12, 6), "keyboard_events": (15, 5), "touch_events": (0, 8)}
MOUSE_A_SECOND, MOUSE_MOST = 2.5, 2_000
CATEGORIES = {
    "screen_size": ("1920x1080", "1366x768", "1440x900", "360x640", "414x896"),
    "browser_info": ("Chrome", "Firefox", "Safari", "Edge"),
    "language": ("foreign", "english", "hindi"),
    "device_orientation": ("portrait", "landscape", "none"),
    "geolocation_city": ("Delhi", "Mumbai", "Bangalore", "Kolkata", "Indore", "Unknown"),
}
OFFSETS = (-330, 0, 60, 330, 480)  # min

# What the schema wants and these sessions don't have.
UNKNOWN = (
    *("clicks_count", "scroll_count", "form_submissions", "page_views"),
    *("session_duration", "bounce_rate", "conversion_rate", "avg_session_duration"),
)

Rng = np.random.Generator
Floats = NDArray[np.float64]
Rows = dict[str, Floats]


def simulate_plain_sessions(
    seed: int, events: int, anomaly_rate: float = 0.05, start: datetime = START
) -> Iterator[Simulated]:
    """So many sessions, in the order of their hours, over 547 days from `start` (its hour counts, in UTC).

    round(anomaly_rate * events) of them, drawn without replacement, are anomalies of one of KINDS, with equal chance.
    Records follow the schema `behaviour`, with 0 for the eight fields that these sessions don't have. A pure function
    of its arguments. Raises ValueError for a start without a time zone and for numbers that make no sense.

    >>> first = next(simulate_plain_sessions(seed=1, events=100))
    >>> first.record["transaction_date"], first.truth
    ('2024-01-01T20:00:00Z', None)
    """
    if start.tzinfo is None:
        raise ValueError("the start needs a time zone, for example datetime(2024, 1, 1, tzinfo=UTC)")
    if events < 0 or not 0 <= anomaly_rate <= 1:
        raise ValueError("need events >= 0 and 0 <= anomaly_rate <= 1")
    return _sessions(np.random.default_rng([seed, USERS]), events, anomaly_rate, start.astimezone(UTC))


def _sessions(rng: Rng, events: int, anomaly_rate: float, start: datetime) -> Iterator[Simulated]:
    rows = _ordinary(rng, events)
    categories = {name: rng.choice(values, events) for name, values in CATEGORIES.items()}
    kinds = np.full(events, -1)
    chosen = rng.choice(events, round(anomaly_rate * events), replace=False)
    kinds[chosen] = rng.integers(0, len(KINDS), len(chosen))
    for kind, change in enumerate((_huge_amount, _odd_hour, _frantic, _combined)):
        at = np.flatnonzero(kinds == kind)
        changed = {name: values[at] for name, values in rows.items()}
        change(rng, changed, len(at))
        for name, values in changed.items():
            rows[name][at] = values
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    for row in np.lexsort((np.arange(events), rows["hour"], rows["day"])).tolist():
        one = {name: float(values[row]) for name, values in rows.items()}
        time = day + timedelta(days=one.pop("day"), hours=one.pop("hour"))
        truth = KINDS[kinds[row]] if kinds[row] >= 0 else None
        texts = {name: str(values[row]) for name, values in categories.items()}
        yield _session(one, texts, time, f"session_{row}", truth)


def _session(
    row: dict[str, float], texts: dict[str, str], time: datetime, session_id: str, truth: str | None
) -> Simulated:
    user, mobile = f"user_{int(row.pop('user'))}", row.pop("mobile")
    record: dict[str, Any] = {
        "user_id": user,
        "session_id": session_id,
        "transaction_date": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device_type": DEVICES[int(mobile)],
        **texts,
        **dict.fromkeys(UNKNOWN, 0.0),
        **row,
    }
    return Simulated(record, user, session_id, time.timestamp(), truth)


def _ordinary(rng: Rng, n: int) -> Rows:
    """Rows of ordinary sessions: float64[n] by field; day, hour, user and mobile stand for what texts will say."""
    mobile = rng.random(n) < 0.5
    time_on_page = np.clip(np.floor(rng.exponential(90.0, n)), 10, 600)
    counts = {name: _counts(rng, np.where(mobile, *means[::-1])) for name, means in COUNTS.items()}
    moves = np.minimum(_counts(rng, MOUSE_A_SECOND * time_on_page), MOUSE_MOST)
    return {
        "day": rng.integers(0, DAYS, n).astype(np.float64),
        "hour": rng.integers(0, 24, n).astype(np.float64),
        "user": rng.integers(1, USERS + 1, n).astype(np.float64),
        "mobile": mobile.astype(np.float64),
        "time_on_page": time_on_page,
        **counts,
        "device_motion": np.where(mobile, np.round(np.abs(rng.normal(1.2, 0.5, n)), 2), 0.0),
        "timezone_offset": rng.choice(OFFSETS, n).astype(np.float64),
        "transaction_amount": np.round(rng.exponential(1_500.0, n), 2),
        "mouse_movement": np.where(mobile, 0.0, moves),
    }


def _counts(rng: Rng, mean: Floats) -> Floats:
    return rng.poisson(mean).astype(np.float64)


# Each overwrites fields of n finished rows; nothing else is computed anew.


def _huge_amount(rng: Rng, rows: Rows, n: int) -> None:
    rows["transaction_amount"] = np.round(rng.uniform(10_000, 20_000, n), 2)
    rows["time_on_page"] = rng.choice([10.0, 600.0], n)
    rows["hour"] = np.where(rng.random(n) < 0.5, _between(rng, 2, 4, n), rows["hour"])


def _odd_hour(rng: Rng, rows: Rows, n: int) -> None:
    rows["hour"] = _between(rng, 2, 4, n)
    amount = np.round(rng.uniform(5_000, 12_000, n), 2)
    rows["transaction_amount"] = np.where(rng.random(n) < 0.5, amount, rows["transaction_amount"])
    rows["click_events"] = np.where(rng.random(n) < 0.5, 0.0, rows["click_events"])


def _frantic(rng: Rng, rows: Rows, n: int) -> None:
    mobile = rows["mobile"] > 0
    rows["click_events"] = _between(rng, 30, 49, n)
    rows["mouse_movement"] = _between(rng, 1_500, 1_999, n)
    rows["touch_events"] = np.where(mobile, _between(rng, 20, 39, n), rows["touch_events"])
    shaken = mobile & (rng.random(n) < 0.7)
    rows["device_motion"] = np.where(shaken, np.round(rng.uniform(3, 5, n), 2), rows["device_motion"])


def _combined(rng: Rng, rows: Rows, n: int) -> None:
    rows["transaction_amount"] = np.round(rng.uniform(8_000, 20_000, n), 2)
    rows["hour"] = _between(rng, 1, 3, n)
    rows["click_events"] = _between(rng, 20, 39, n)
    rows["mouse_movement"] = _between(rng, 1_000, 1_999, n)
    motion = np.round(rng.uniform(2.5, 4, n), 2)
    rows["device_motion"] = np.where(rows["mobile"] > 0, motion, rows["device_motion"])
    rows["keyboard_events"] = np.where(rng.random(n) < 0.3, 0.0, rows["keyboard_events"])


def _between(rng: Rng, least: int, most: int, n: int) -> Floats:
    """Whole numbers, both ends included."""
    return rng.integers(least, most + 1, n).astype(np.float64)
