"""Events as people have them, dicts, → rows of features, with a note of what each event lacked.

In a running worker schemas decode columns and streams make features of them; this is the same for a list of dicts, bit
for bit. Categories and users are numbered in the order in which they come: features only ask which are equal.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import EventRefused
from .features.behaviour import CATEGORIES, NUMBERS, BehaviourFeatures

Event = Mapping[str, Any]

IDS = ("user_id", "session_id")
TIME = "transaction_date"
BEHAVIOUR_FIELDS = (*IDS, TIME, *CATEGORIES, *NUMBERS)
# Fields whose values are compared with those of earlier events.
COMPARED = ("user_id", *CATEGORIES)

ISO_8601 = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?)?Z?", re.ASCII)
# 2000-01-01 and 2100-01-01, in seconds since 1970: any year that a web event can have.
EARLIEST, LATEST = 946_684_800.0, 4_102_444_800.0
# pandas' own nothings; they can't be compared with anything, and pandas is not imported here.
PANDAS_MISSING = ("NAType", "NaTType")


@dataclass(frozen=True, slots=True)
class Intake:
    """n events: `matrix` float64[n, f], NaN = missing, and for each event what is worth knowing about it.

    ids: what names it, never a feature. missing: fields that the model knows and the event lacks. unseen: fields whose
    value no earlier event had, so nothing is known about it. unused: fields of the event that the model doesn't know.
    """

    matrix: NDArray[np.float64]
    ids: list[dict[str, str | None]]
    missing: list[list[str]]
    unseen: list[list[str]]
    unused: list[list[str]]


def fields_of(stream: str, features: Sequence[str]) -> tuple[str, ...]:
    """The fields that events of this stream may have: a session's 26; elsewhere the features themselves."""
    return BEHAVIOUR_FIELDS if stream == "behaviour" else tuple(features)


def take_in(stream: str, features: Sequence[str], places: Sequence[str], events: Sequence[Event]) -> Intake:
    """The rows of `events`, in order, each made from those before it. `places` are what errors call them.

    Raises `EventRefused` for a value that isn't of its field's kind.
    """
    fields = fields_of(stream, features)
    for place, event in zip(places, events, strict=True):
        if not isinstance(event, Mapping):
            raise EventRefused(f"is a {type(event).__name__}, expected a dict of fields", place=place)
    present = [{name: value for name, value in event.items() if not _is_missing(value)} for event in events]
    readers = [Fields(place, one) for place, one in zip(places, present, strict=True)]
    numbered = NUMBERS if stream == "behaviour" else fields
    numbers = np.array([[one.number(name) for name in numbered] for one in readers], np.float64)
    numbers = numbers.reshape(len(events), len(numbered))
    missing = [[name for name in fields if name not in one] for one in present]
    unused = [[str(name) for name in event if name not in fields] for event in events]
    if stream != "behaviour":
        return Intake(numbers, [{} for _ in events], missing, [[] for _ in events], unused)

    codes, unseen = _number_texts(readers)
    time = np.array([one.seconds(TIME) for one in readers], np.float64)
    state = BehaviourFeatures(capacity=max(1, len(events)))  # nobody is forgotten
    matrix = state.compute(np.ascontiguousarray(codes[:, 0]), time, numbers, np.ascontiguousarray(codes[:, 1:]))
    ids = [{name: one.text(name) for name in IDS} for one in readers]
    return Intake(matrix, ids, missing, unseen, unused)


def _number_texts(readers: Sequence["Fields"]) -> tuple[NDArray[np.uint64], list[list[str]]]:
    """uint64[n, 7], a number for each value of COMPARED, 0 = none; and which fields' values are new, event by event."""
    known: dict[str, dict[str, int]] = {name: {} for name in COMPARED}
    codes = np.zeros((len(readers), len(COMPARED)), np.uint64)
    unseen: list[list[str]] = []
    for row, one in enumerate(readers):
        unseen.append([])
        for column, name in enumerate(COMPARED):
            text = one.text(name)
            if text is None:
                continue
            if text not in known[name]:
                known[name][text] = len(known[name]) + 1
                unseen[row].append(name)
            codes[row, column] = known[name][text]
    return codes, unseen


class Fields:
    """What an event has, field by field; every value is checked when it is read."""

    def __init__(self, place: str, values: Event) -> None:
        self.place = place
        self.values = values

    def number(self, name: str) -> float:
        """The number; NaN if there is none."""
        value = self.values.get(name)
        if value is None:
            return np.nan
        if not isinstance(value, Real) or isinstance(value, bool):
            raise self._refused(name, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = np.inf
        if not np.isfinite(number):
            raise self._refused(name, "a finite number")
        return number

    def text(self, name: str) -> str | None:
        """The text; None if there is none. An id that is empty is none."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._refused(name, "text")
        return None if value == "" and name in IDS else value

    def seconds(self, name: str) -> float:
        """Seconds since 1970-01-01 UTC, NaN if there is no time; what has no time zone is UTC."""
        value = self.values.get(name)
        if value is None:
            return np.nan
        if getattr(value, "tzinfo", None) is not None:  # a datetime or pandas' Timestamp that knows its zone
            seconds = float(value.timestamp())
        else:
            seconds = self._parsed(name, value.isoformat() if hasattr(value, "isoformat") else value)
        if not EARLIEST <= seconds <= LATEST:
            raise self._refused(name, "a time in 2000 to 2100")
        return seconds

    def _parsed(self, name: str, text: object) -> float:
        found = ISO_8601.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise self._refused(name, "ISO 8601 text in UTC (2026-11-21 or 2026-11-21T20:15:00Z) or a datetime")
        day, hour, minute, second, decimals = found.groups()
        try:
            whole = np.datetime64(f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}", "s")
        except ValueError as error:
            raise self._refused(name, "a date and a time that exist") from error
        fraction, scale = 0.0, 0.1
        for digit in decimals or "":  # digit by digit, as the worker adds them up: the same bits
            fraction += int(digit) * scale
            scale /= 10.0
        return float(whole.astype(np.int64)) + fraction

    def _refused(self, name: str, expected: str) -> EventRefused:
        value = self.values[name]
        problem = f"is {str(value)[:40]!r} ({type(value).__name__}), expected {expected}, or None if it isn't known"
        return EventRefused(problem, place=self.place, field=name)


def _is_missing(value: object) -> bool:
    """None, NaN, pandas' NA and NaT."""
    if isinstance(value, Real):
        return bool(value != value)
    return value is None or type(value).__name__ in PANDAS_MISSING
