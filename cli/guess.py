"""What the fields of a sample are for: key, event id, time, numbers, categories; each guess with its reason.

Guesses are by name first (people name ids), then by values: what differs in every event names the event, what comes
again names somebody. No id is ever guessed to be a number.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..schemas.errors import SkimError
from ..scoring.intake import EARLIEST, ISO_8601, LATEST

ANY_CASE = re.IGNORECASE
ID = re.compile(r"(^|[_.])(id|uuid|guid|no|nr|number|key|hash)$|[a-z](Id|ID)$", ANY_CASE)
SOMEBODY = re.compile(
    r"user|customer|client|card|account|object|device|sensor|host|player|member|patient|vehicle", ANY_CASE
)
SOMETHING = re.compile(r"terminal|shop|store|merchant|payee|location|station|city|ip$|server|account|session", ANY_CASE)
EVENT = re.compile(r"event|transaction|session|order|payment|message|alert|cand|request|trace|uuid|guid|^id$", ANY_CASE)
TIME = re.compile(r"time|date|when|stamp|_at$|^at$|^t$|^ts$|jd", ANY_CASE)
CODE = re.compile(r"code|type|kind|status|category|mcc|class|zip|level|zone", ANY_CASE)
LABEL = re.compile(
    r"^(is_?)?(label|fraud|anomaly|anomalous|target|class|outlier|attack)(_?(label|scenario))?$", ANY_CASE
)
SCALES = (("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6))
DAYS = (("mjd", 40_587.0), ("jd", 2_440_587.5))  # numbers of many a kind lie there, so the name has to say so, too
UNIQUE = 0.95  # of the events have a value of their own: it names the event
FEW = 0.5  # of the events have one: it comes again
MOST_VALUES = 200  # of a category, in a sample
MOST_NUMBERS, MOST_CATEGORIES = 30, 12


class NothingToGuess(SkimError):
    """The sample doesn't say what a field is for; `role` is key or time."""

    def __init__(self, role: str, fields: Sequence[str]) -> None:
        super().__init__(f"no field looks like the {role}; name it with --{role}: one of {', '.join(fields)}")
        self.role = role
        self.fields = tuple(fields)


@dataclass
class Guess:
    """Which field is for what, and why: `reasons` by field. `left_out`, too."""

    key: str = ""
    event: str = ""
    time: str = ""
    time_format: str = "iso8601"
    numbers: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    integers: list[str] = field(default_factory=list)
    resolution: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """The known values of one field."""

    name: str
    values: list[Any]

    @property
    def distinct(self) -> int:
        return len(set(self.values))

    @property
    def share(self) -> float:
        return self.distinct / len(self.values)

    @property
    def whole(self) -> bool:
        return all(isinstance(one, int) and not isinstance(one, bool) for one in self.values)

    @property
    def text(self) -> bool:
        return all(isinstance(one, str) for one in self.values)

    @property
    def nameable(self) -> bool:
        return self.whole or self.text


def guess(records: Sequence[Mapping[str, Any]], key: str = "", time: str = "") -> Guess:
    """What each field of these flat records is for. Raises `NothingToGuess` for no key or no time.

    >>> at = [f"2026-11-0{1 + i % 9}" for i in range(60)]
    >>> rows = [{"user": f"u{i % 7}", "at": at[i], "sum": i / 8, "hue": "rb"[i % 2]} for i in range(60)]
    >>> made = guess(rows)
    >>> made.key, made.time, made.numbers, made.categories
    ('user', 'at', ['sum'], ['hue'])
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: Column(name, [one[name] for one in records if one.get(name) is not None]) for name in names}
    made = Guess()
    left = {name: one for name, one in columns.items() if one.values}
    made.left_out = dict.fromkeys((name for name in names if name not in left), "always null")
    for name in [one for one in left if LABEL.match(one) and one not in (key, time)]:
        made.left_out[name] = "a label by its name: give it to `skim train --label-column`"
        left.pop(name)
    made.time, made.time_format, made.reasons["time"] = _time(left, time)
    left.pop(made.time)
    made.key, made.reasons["key"] = _key(left, key)
    _whole(made, left.pop(made.key))
    _event(made, left)
    for one in left.values():
        _role(made, one)
    for fields, most in ((made.numbers, MOST_NUMBERS), (made.categories, MOST_CATEGORIES)):
        for name in fields[most:]:
            made.left_out[name] = f"the first {most} will do to begin with"
        del fields[most:]
    return made


def _time(left: Mapping[str, Column], asked: str) -> tuple[str, str, str]:
    found = []
    for name, one in left.items():
        form = _time_format(one)
        if form and (not asked or name == asked):
            found.append((bool(TIME.search(name)), form == "iso8601", name, form))
    if not found:
        raise NothingToGuess("time", list(left))
    named, _, name, form = max(found, key=lambda one: one[:2])
    written = {"iso8601": "ISO 8601", "mjd": "days (MJD)", "jd": "days (JD)"}.get(form, f"{form} since 1970")
    return name, form, f"its values are times in {written}" + (", as its name says" if named else "")


def _time_format(one: Column) -> str:
    if one.text:
        return "iso8601" if all(ISO_8601.fullmatch(value) for value in one.values) else ""
    if any(isinstance(value, (bool, str)) for value in one.values):
        return ""
    for form, scale in SCALES:
        if all(EARLIEST <= value / scale <= LATEST for value in one.values):
            return form
    for form, epoch in DAYS if TIME.search(one.name) else ():
        if all(EARLIEST <= (value - epoch) * 86_400 <= LATEST for value in one.values):
            return form
    return ""


def _key(left: Mapping[str, Column], asked: str) -> tuple[str, str]:
    if asked:
        if asked not in left:
            raise NothingToGuess("key", list(left))
        return asked, "as you said"
    found = [
        (bool(SOMEBODY.search(name)) and not CODE.search(name), bool(ID.search(name)), one.distinct, name)
        for name, one in left.items()
        if one.nameable and 1 < one.distinct and one.share <= FEW and (one.text or _called_one(one))
    ]
    if not found:
        raise NothingToGuess("key", list(left))
    by_name, _, distinct, name = max(found, key=lambda one: one[:3])
    why = f"{distinct} different ones come again and again"
    return name, f"{why}, and it is called like somebody" if by_name else why


def _event(made: Guess, left: dict[str, Column]) -> None:
    found = [
        (bool(EVENT.search(name)), bool(ID.search(name)), name)
        for name, one in left.items()
        if one.nameable and one.share == 1 and (ID.search(name) or EVENT.search(name))
    ]
    if found:
        made.event = max(found)[2]
        made.reasons["event"] = "every event has one of its own"
        _whole(made, left.pop(made.event))


def _role(made: Guess, one: Column) -> None:
    name = one.name
    if one.distinct == 1:
        made.left_out[name] = f"always {str(one.values[0])[:30]!r}"
    elif _time_format(one) and not isinstance(one.values[0], float):
        made.left_out[name] = "another time"
    elif one.nameable and SOMETHING.search(name) and one.share <= FEW and one.distinct > MOST_CATEGORIES:
        made.entities.append(name)
        made.reasons[name] = f"{one.distinct} different ones, and it is called like a place or a partner"
        _whole(made, one)
    elif one.nameable and _id_like(one):
        made.left_out[name] = "an id, and ids are never features"
    elif one.text or (one.whole and CODE.search(name)):
        if one.distinct <= MOST_VALUES and one.share <= FEW:
            made.categories.append(name)
            made.reasons[name] = f"{one.distinct} different values"
            _whole(made, one)
        else:
            made.left_out[name] = f"{one.distinct} different values are too many for a category"
    elif any(isinstance(value, str) for value in one.values):
        made.left_out[name] = "now a text and now a number"
    else:
        made.numbers.append(name)
        _resolution(made, one)


def _called_one(one: Column) -> bool:
    return any(pattern.search(one.name) for pattern in (ID, SOMEBODY, SOMETHING))


def _id_like(one: Column) -> bool:
    return bool(ID.search(one.name)) or (one.whole and one.share >= UNIQUE and len(one.values) > MOST_CATEGORIES)


def _whole(made: Guess, one: Column) -> None:
    if one.whole:
        made.integers.append(one.name)


def _resolution(made: Guess, one: Column) -> None:
    """The least difference between two values of the sample, as a round number."""
    values = np.unique(np.array(one.values, np.float64))
    steps = np.diff(values[np.isfinite(values)])
    steps = steps[steps > 1e-9 * max(1.0, float(np.abs(values).max()))]
    least = float(f"{steps.min():.1g}") if len(steps) else 0.0
    if least > 0:
        made.resolution[one.name] = least
    made.reasons[one.name] = f"{values[0]:g} to {values[-1]:g}"
