"""Which topics a stream is read from: one, or one a night, of which the last few are read.

A night's topic may be missing: it isn't there yet, or nothing was observed. A window of names is all that is ever
subscribed to, never a regular expression, since a broker may go on naming topics that it holds nothing of any more.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

#: A template's field: `{date:%Y%m%d}`.
FIELD = re.compile(r"\{date:([^{}]*)\}")
WANTED = "one date with year, month and day, as in ztf_{date:%Y%m%d}_programid1"
# What Kafka allows in a name.
NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Topics(Protocol):
    """What a source reads."""

    @property
    def name(self) -> str: ...
    def now(self) -> tuple[str, ...]:
        """The topics that are to be read now, the latest first."""


class Single(str):
    """One topic for ever."""

    @property
    def name(self) -> str:
        """What its dead letters and copies are named after."""
        return str(self)

    def now(self) -> tuple[str, ...]:
        """Itself."""
        return (str(self),)


class Nightly:
    """A topic a night, named after the UTC date; of these, the last `nights` up to tonight's.

    `clock` counts seconds since 1970.

    >>> topics = Nightly("ztf_{date:%Y%m%d}_programid1", 2, clock=lambda: 1_790_000_000)
    >>> topics.name
    'ztf_nightly_programid1'
    >>> topics.now()
    ('ztf_20260921_programid1', 'ztf_20260920_programid1')
    """

    def __init__(self, template: str, nights: int, clock: Callable[[], float] = time.time) -> None:
        """Raises ValueError if the template isn't one."""
        parts = FIELD.split(template)
        if len(parts) != 3 or "{" in parts[0] + parts[2] or "}" in parts[0] + parts[2]:
            raise ValueError(f"{template!r} is to have {WANTED}")
        self.before, self.format, self.after = parts
        self.nights = nights
        self.clock = clock
        someday = date(2026, 11, 5)
        if self.night_of(self._named(someday)) != someday or not NAME.fullmatch(self._named(someday)):
            raise ValueError(f"{template!r} is to have {WANTED}; letters, digits, '.', '_' and '-' beside it")

    @property
    def name(self) -> str:
        """What the nights' dead letters and copies are named after."""
        return f"{self.before}nightly{self.after}"

    @property
    def tonight(self) -> date:
        """The night that now belongs to, by UTC."""
        return datetime.fromtimestamp(self.clock(), UTC).date()

    def now(self) -> tuple[str, ...]:
        """Tonight's topic and those of the nights before."""
        tonight = self.tonight
        return tuple(self._named(tonight - timedelta(days=ago)) for ago in range(self.nights))

    def night_of(self, topic: str) -> date | None:
        """Which night a topic is of; None if it is none of these.

        >>> Nightly("ztf_{date:%Y%m%d}_programid1", 2).night_of("ztf_20260921_programid1")
        datetime.date(2026, 9, 21)
        """
        if not (topic.startswith(self.before) and topic.endswith(self.after)):
            return None
        told = topic[len(self.before) : len(topic) - len(self.after)]
        try:
            night = datetime.strptime(told, self.format).replace(tzinfo=UTC).date()
        except ValueError:
            return None
        return night if night.strftime(self.format) == told else None

    def _named(self, night: date) -> str:
        return f"{self.before}{night.strftime(self.format)}{self.after}"


def topics_of(topic: str, nights: int, clock: Callable[[], float] = time.time) -> Single | Nightly:
    """What a setting `topic` means. Raises ValueError if it is a template, but no good one."""
    return Nightly(topic, nights, clock) if "{" in topic else Single(topic)
