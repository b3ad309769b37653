"""Web sessions of users with habits, and a few sessions that go against them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from heapq import heapify, heapreplace
from itertools import islice
from typing import Any

import numpy as np

from ..inject import KINDS, Rng
from .event import Simulated
from .habits import Habits, draw_habits, offset_of

TRACKED = ("click_events", "scroll_events", "touch_events", "keyboard_events", "device_motion", "mouse_movement")
UNTRACKED = 0.04  # share of sessions whose browser tells nothing of these


def simulate_sessions(
    seed: int,
    start: datetime,
    events: int | None = None,
    users: int = 500,
    events_per_user_day: float = 6.0,
    anomaly_rate: float = 0.005,
) -> Iterator[Simulated]:
    """Sessions from `start` on, in the order in which they end; records follow the schema `behaviour`.

    events: how many; None = without end.  users: how many take part, each with habits of their own.
    anomaly_rate: share of the sessions that are injected anomalies; their `truth` is one of `inject.KINDS`.

    A pure function of its arguments: the same call gives the same records. Raises ValueError for a start without a
    time zone and for numbers that make no sense.
    """
    if start.tzinfo is None:
        raise ValueError("the start needs a time zone, for example datetime(2026, 11, 21, tzinfo=UTC)")
    if users < 1 or not events_per_user_day > 0 or not 0 <= anomaly_rate <= 1 or (events or 0) < 0:
        raise ValueError("need events >= 0, users >= 1, events_per_user_day > 0 and 0 <= anomaly_rate <= 1")
    people = [User(seed, number, start.timestamp(), events_per_user_day, anomaly_rate) for number in range(users)]
    return islice(_sessions(people), events)


def _sessions(people: "list[User]") -> Iterator[Simulated]:
    sessions = [user.next() for user in people]
    waiting = [(session.event_time, number) for number, session in enumerate(sessions)]
    heapify(waiting)
    while True:
        _, number = waiting[0]
        yield sessions[number]
        sessions[number] = people[number].next()
        heapreplace(waiting, (sessions[number].event_time, number))


class User:
    """One user's sessions, one after the other, and the running means that the records carry."""

    def __init__(self, seed: int, number: int, start: float, sessions_a_day: float, anomaly_rate: float) -> None:
        self._rng = np.random.default_rng([seed, number])
        self._anomaly_rate = anomaly_rate
        self.habits = draw_habits(self._rng, f"user_{number:05d}", sessions_a_day)
        self._end = start
        # Sessions before the simulation begins: how many, of one page, with a purchase, total length in s.
        self._sessions = int(self._rng.integers(5, 200))
        self._bounces = int(self._rng.binomial(self._sessions, 1 / self.habits.pages**2))
        self._purchases = int(self._rng.binomial(self._sessions, self.habits.buys))
        self._seconds = self._sessions * self.habits.pages * self.habits.reading

    def next(self) -> Simulated:
        """The next session."""
        rng, habits = self._rng, self.habits
        truth = str(rng.choice(list(KINDS))) if rng.random() < self._anomaly_rate else None
        if truth is not None and KINDS[truth].odd_hour:
            begin = habits.quiet_hour(rng, self._end)
        else:
            begin = habits.next_visit(rng, self._end)
        session = draw_session(rng, habits if truth is None else KINDS[truth].change(rng, habits))
        self._end = round(begin + session["session_duration"], 3)
        session_id = f"{habits.user_id}-{round(begin * 1000):x}"
        date = datetime.fromtimestamp(self._end, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"user_id": habits.user_id, "session_id": session_id, "transaction_date": date} | session
        return Simulated(record | self._rates(session), habits.user_id, session_id, self._end, truth)

    def _rates(self, session: dict[str, Any]) -> dict[str, float]:
        """Counts the session, and tells the user's rates so far."""
        self._sessions += 1
        self._bounces += session["page_views"] == 1
        self._purchases += session["transaction_amount"] is not None
        self._seconds += session["session_duration"]
        return {
            "bounce_rate": self._bounces / self._sessions,
            "conversion_rate": self._purchases / self._sessions,
            "avg_session_duration": self._seconds / self._sessions,
        }


def draw_session(rng: Rng, habits: Habits) -> dict[str, Any]:
    """A session as these habits have them: where from, how long, what was done."""
    device = habits.devices[int(rng.random() < 0.25) % len(habits.devices)]
    city = habits.cities[int(rng.random() < 0.1) % len(habits.cities)]
    mobile = device.kind == "Mobile"
    pages = 1 + int(rng.poisson(habits.pages - 1))
    last = habits.reading * float(np.exp(0.6 * rng.standard_normal()))
    total = last + (pages - 1) * habits.reading * float(np.exp(0.3 * rng.standard_normal()))
    bought = rng.random() < habits.buys
    clicks = pages - 1 + int(rng.poisson(habits.clicks * total / 60))
    scrolls = int(rng.poisson(habits.scrolls * total / 60))
    session: dict[str, Any] = {
        "device_type": device.kind,
        "screen_size": device.screen,
        "browser_info": device.browser,
        "language": habits.language,
        "device_orientation": ("portrait" if rng.random() < 0.85 else "landscape") if mobile else "none",
        "geolocation_city": city,
        "time_on_page": last,
        "clicks_count": float(clicks),
        "scroll_count": float(scrolls),
        "form_submissions": float(bought + rng.poisson(0.2)),
        "page_views": float(pages),
        "session_duration": total,
        "timezone_offset": float(offset_of(city)),
        "transaction_amount": None,
    }
    if bought:
        session["transaction_amount"] = round(habits.amount * float(np.exp(habits.spread * rng.normal())), 2)
    if rng.random() < UNTRACKED:
        return session | dict.fromkeys(TRACKED)
    return session | {
        "click_events": float(rng.binomial(clicks, last / total)),
        "scroll_events": float(rng.binomial(scrolls, last / total)),
        "touch_events": float(rng.poisson(last / 5)) if mobile else 0.0,
        "keyboard_events": float(rng.poisson(habits.keys * last / 60)),
        "device_motion": round(abs(float(rng.normal(1.2, 0.5))), 2) if mobile else 0.0,
        "mouse_movement": 0.0 if mobile else float(rng.poisson(2.5 * last)),
    }
