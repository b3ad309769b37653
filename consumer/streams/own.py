"""A stream of one's own: what a TOML file says of it, as a stream like the others. No code of its own is needed.

The key, other entities and categories are texts (or whole numbers, if `integers` has them), and never features as they
are; numbers are. An event that doesn't pass the gates is neither scored nor learned. A label is a record of its own, at
the place in the partition where it became known, and teaches what is known of its key and other entities from there on.
"""

import json
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.columns import Columns, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.entities import LIFETIME, Entities, Keys
from ...scoring.features.generic import GenericFeatures
from ...scoring.intake import EARLIEST, LATEST
from .base import SECONDS_A_DAY, Features, Floats, Ints, faults
from .definition import Definition, Gate, TimeFormat, time_format
from .timestamp import parse_times

CAPACITY = 200_000  # keys in memory, a partition, and as many of each other entity; the others wait in Redis
ID_BYTES = 128
MALFORMED = f"is longer than {ID_BYTES} bytes, or holds control characters"
# How much of a unit a second is, and where 1970-01-01 UTC lies. Scales of days (UTC, TAI, TDB) aren't told apart: they
# differ by a minute or so.
A_SECOND = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "mjd": 1 / 86_400, "jd": 1 / 86_400}
EPOCH = {"mjd": 40_587.0, "jd": 2_440_587.5}
SHOWN = 12  # fields of an event that people see beside its reasons


def to_seconds(time: Any, time_format: TimeFormat) -> Any:
    """A number (or an array of them) in a stream's units, in s since 1970-01-01 UTC.

    >>> to_seconds(60_000, "milliseconds"), to_seconds(40_588.0, "mjd"), to_seconds(2_440_588.0, "jd")
    (60.0, 86400.0, 43200.0)
    """
    return (time - EPOCH.get(time_format, 0.0)) / A_SECOND[time_format]


def from_seconds(seconds: float, time_format: TimeFormat) -> float:
    """The inverse.

    >>> from_seconds(60.0, "milliseconds"), from_seconds(86_400.0, "mjd"), from_seconds(43_200.0, "jd")
    (60000.0, 40588.0, 2440588.0)
    """
    return seconds * A_SECOND[time_format] + EPOCH.get(time_format, 0.0)


# SplitMix64's finaliser (Steele, Lea & Flood 2014), so that neighbouring whole numbers have hashes far apart.
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Own:
    """The stream of a definition."""

    unscored_reasons: tuple[str, ...] = ("warming", "gate", "label")

    def __init__(self, of: Definition, capacity: int = CAPACITY, lifetime: int = LIFETIME) -> None:
        self.definition, self.capacity, self.lifetime = of, capacity, lifetime
        self.name = of.name
        self.described: tuple[str, ...] = (of.time, *of.entities, *of.numbers, *of.categories)[:SHOWN]
        self.key_field = of.key
        self.framing: Choice = of.framing or ("plain" if of.schema_file else "auto")
        self.plan = of.plan
        self.features: tuple[str, ...] = self.plan.features
        self.units: tuple[str, ...] = self.plan.units_of_features
        self.time_format = time_format(of)
        self.gates = of.conditions
        self.ids = tuple(one for one in (of.key, of.event) if one)
        self.wanted = self._wanted()

    def _wanted(self) -> Wanted:
        of = self.definition
        numbers, texts = [*of.numbers], [*self.ids, *of.entities, *of.categories]
        (texts if self.time_format == "iso8601" else numbers).append(of.time)
        if of.labels is not None:
            numbers.append(of.labels.field)
            (texts if self.time_format == "iso8601" else numbers).append(of.labels.event_time)
        for gate in self.gates:
            if gate.field not in (*numbers, *texts):
                (texts if isinstance(gate.value, str) else numbers).append(gate.field)
        names = dict.fromkeys(texts)
        return Wanted(
            tuple(dict.fromkeys(numbers)),
            tuple(one for one in names if one in of.integers),
            tuple(one for one in names if one not in of.integers),
        )

    def schema(self) -> Mapping[str, Any] | None:
        """The .avsc file that the definition names."""
        if self.definition.schema_file is None:
            return None
        schema: dict[str, Any] = json.loads(self.definition.schema_file.read_text())
        return schema

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Events without a key, an event id or a time that can be, or with numbers that aren't."""
        when, time = self.times(columns), self.definition.time
        infinite = np.asarray((~np.isfinite(columns.numbers) & ~columns.number_null).any(axis=1))
        missing = [(self._absent(columns, name), DecodeError("invalid", f"there is no {name}")) for name in self.ids]
        texts = [one for one in (*self.ids, *self.definition.entities) if one in self.wanted.texts]
        malformed = [
            (
                (columns.text(one).length > 0) & columns.text(one).malformed(ID_BYTES),
                DecodeError("invalid", f"{one} {MALFORMED}"),
            )
            for one in texts
        ]
        written = "an ISO 8601 date or time" if self.time_format == "iso8601" else f"a time in {self.time_format}"
        return faults(
            *missing,
            *malformed,
            (np.isnan(when), DecodeError("invalid", f"{time} is not {written}")),
            ((when < EARLIEST) | (when > LATEST), DecodeError("invalid", f"{time} is not in 2000 to 2100")),
            (infinite, DecodeError("non_finite", "a number is NaN or infinite")),
            *self._label_rules(columns, when),
        )

    def _label_rules(self, columns: Columns, when: Floats) -> list[tuple[NDArray[np.bool_], DecodeError]]:
        """Labels are 0 or 1, and come no earlier than their delay: what leaks would make any figure look good."""
        feed = self.definition.labels
        if feed is None:
            return []
        label, early = self.labels(columns), when - self._times(columns, feed.event_time) < feed.seconds
        known = ~np.isnan(label)
        unsaid = np.isnan(self._times(columns, feed.event_time))
        return [
            (known & (label != 0) & (label != 1), DecodeError("invalid", f"{feed.field} is not 0 or 1")),
            (known & unsaid, DecodeError("invalid", f"a label without its event's time, {feed.event_time}")),
            (known & early, DecodeError("invalid", f"a label that comes before its delay of {feed.delay}")),
        ]

    def labels(self, columns: Columns) -> Floats:
        """float64[n]: of a label what it says, of an event NaN."""
        feed = self.definition.labels
        return np.full(len(columns), np.nan) if feed is None else columns.number(feed.field)

    def _absent(self, columns: Columns, name: str) -> NDArray[np.bool_]:
        return columns.text(name).length <= 0 if name in self.wanted.texts else columns.null(name)

    def open(self) -> "OwnState":
        """Nobody known yet."""
        return OwnState(self)

    def times(self, columns: Columns) -> Floats:
        """float64[n]: seconds since the epoch, NaN where there is no readable time."""
        return self._times(columns, self.definition.time)

    def _times(self, columns: Columns, name: str) -> Floats:
        if self.time_format == "iso8601":
            return parse_times(columns.text(name))
        return np.asarray(to_seconds(columns.number(name), self.time_format), np.float64)

    def nights(self, columns: Columns) -> Ints:
        """The first day of each event's window; a day begins when the definition says, and has that date."""
        days = np.floor((self.times(columns) - self.definition.day_shift) / SECONDS_A_DAY).astype(np.int64)
        return days - days % self.definition.window_days

    def hashes(self, columns: Columns, name: str) -> Keys:
        """uint64[n] of a text or a whole number; 0 = null."""
        if name in self.wanted.texts:
            text = columns.text(name)
            return np.where(text.length > 0, text.hashes(), np.uint64(0))
        mixed = columns.integer(name).astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        mixed ^= mixed >> np.uint64(31)
        return np.where(columns.null(name), np.uint64(0), np.where(mixed == 0, np.uint64(1), mixed))

    def passing(self, columns: Columns) -> NDArray[np.bool_]:
        """bool[n]: which events pass all gates."""
        found = np.ones(len(columns), np.bool_)
        for gate in self.gates:
            found &= self._passes(columns, gate)
        return found

    def _passes(self, columns: Columns, gate: Gate) -> NDArray[np.bool_]:
        known = ~columns.null(gate.field)
        if isinstance(gate.value, str):
            if gate.field in self.wanted.integers:
                same = np.array([str(one) == gate.value for one in columns.integer(gate.field).tolist()], np.bool_)
            else:
                same = columns.text(gate.field).equals(gate.value)
            return known & (same if gate.operator == "==" else ~same)
        column, value = columns.number(gate.field), gate.value
        compared = {
            "==": column == value,
            "!=": column != value,
            "<": column < value,
            "<=": column <= value,
            ">": column > value,
            ">=": column >= value,
        }
        return np.asarray(known & compared[gate.operator])

    def said(self, columns: Columns, name: str, row: int) -> float | int | str | None:
        """One field of one event, for people."""
        if name in self.wanted.texts:
            return columns.text(name).at(row)
        if columns.null(name)[row]:
            return None
        if name in self.wanted.integers:
            return int(columns.integer(name)[row])
        return float(columns.number(name)[row])

    def object_id(self, columns: Columns, row: int) -> str:
        """The key."""
        found = self.said(columns, self.definition.key, row)
        return "" if found is None else str(found)

    def event_id(self, columns: Columns, row: int) -> str:
        """The event's id; without a field for it, a hash of all that is read of the event."""
        if self.definition.event:
            return str(self.said(columns, self.definition.event, row) or "")
        every = [self.said(columns, name, row) for name in self.wanted.paths]
        return blake2b(json.dumps(every).encode(), digest_size=8).hexdigest()

    def describe(self, columns: Columns, row: int) -> Mapping[str, float | int | str | None]:
        """When, and the first fields."""
        found = {name: self.said(columns, name, row) for name in self.described}
        return {name: one[:ID_BYTES] if isinstance(one, str) else one for name, one in found.items()}

    def light_curve(self, columns: Columns, row: int) -> None:
        """None: nobody said which field is a brightness."""


class OwnState:
    """One partition's keys and other entities. Satisfies `State`."""

    def __init__(self, stream: Own) -> None:
        self.stream = stream
        # Strangers choose the ids: a secret salt keeps them from crowding one corner of the hash table.
        self.made = GenericFeatures(
            stream.plan,
            stream.capacity,
            lifetime=stream.lifetime,
            salt=secrets.randbits(64),
            made_for=stream.definition.digest,
        )
        self.entities: Entities | None = self.made.entities
        self.keys_per_event = len(stream.plan.entities)

    @property
    def state_bytes(self) -> int:
        """Memory that all of it takes."""
        return self.made.state_bytes

    def _entities(self, columns: Columns) -> Keys:
        passing = self.stream.passing(columns) | ~np.isnan(self.stream.labels(columns))
        hashes = [self.stream.hashes(columns, name) for name in self.stream.plan.entities]
        return np.column_stack(hashes) * passing[:, None].astype(np.uint64)

    def keys(self, columns: Columns) -> Keys:
        """The key and the other entities of each event that passes the gates."""
        return self.made.keys(self._entities(columns))

    def features(self, columns: Columns) -> Features:
        """Every valid event that passes the gates is scorable; labels are learned, and no events."""
        plan, stream = self.stream.plan, self.stream
        is_label, passing = ~np.isnan(stream.labels(columns)), stream.passing(columns)
        kept = np.flatnonzero(passing | is_label)
        unscored = {"gate": len(columns) - len(kept)}
        if stream.definition.labels is not None:
            unscored["label"] = int(is_label.sum())
        if len(kept) < len(columns):
            columns = columns.take(kept)
        numbers = [columns.number(name) for name in plan.numbers]
        categories = [stream.hashes(columns, name) for name in plan.categories]
        n = len(columns)
        matrix = self.made.compute(
            self._entities(columns),
            stream.times(columns),
            np.column_stack(numbers) if numbers else np.zeros((n, 0)),
            np.column_stack(categories) if categories else np.zeros((n, 0), np.uint64),
            stream.labels(columns),
        )
        return Features(kept[~is_label[kept]], matrix, unscored)

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """How often the categories' values were seen."""
        return self.made.shared()

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave."""
        self.made.restore_shared(shared)
