"""A stream of one's own as a TOML file has it: `[stream.payments]`, every key checked, all problems at once."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...schemas.decode import Choice
from ...schemas.errors import SkimError
from ...scoring.features.generic import GROUPS, Group, Plan

# Without labels nothing says which feature matters, and those about the key hide those about the event: on made-up
# payments of which one in a hundred is 8 or 30 times too large, an isolation forest has an average precision of .67
# with all groups, .96 with these, .998 without `since` and `count`.
USUAL: tuple[Group, ...] = ("value", "rarity", "since", "count", "z", "ratio", "risk", "new")
TimeFormat = Literal["iso8601", "seconds", "milliseconds", "microseconds", "mjd", "jd"]
Entity = Annotated[str, Field(min_length=1, max_length=100)]

# It stands in keys of Redis, in topics, metrics and addresses.
NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
HALF_LIFE = re.compile(r"([0-9]{1,4})(s|min|h|d)")
SECONDS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
GATE = re.compile(r"""\s*(\S+?)\s*(==|!=|<=|>=|<|>)\s*(?:'([^']*)'|"([^"]*)"|(-?[0-9][0-9_.eE+-]*))\s*""")
CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
MOST_FIELDS, MOST_FEATURES = 200, 500
RULE = "rule_"
# What Avro writes may be read as, and how a time is written that has a logical type.
TEXTS, INTEGERS = ("string", "enum"), ("int", "long", "boolean")
NUMBERS = (*INTEGERS, "float", "double")
LOGICAL: Mapping[str, TimeFormat] = {"timestamp-millis": "milliseconds", "timestamp-micros": "microseconds"}
Problem = tuple[str, str]  # which key of the table, and what is wrong with it


@dataclass(frozen=True, slots=True)
class Gate:
    """An event passes if its field compares so with a number or a text; a null never does."""

    field: str
    operator: str
    value: float | str


class LabelFeed(BaseModel):
    """Records of the topic that say what an earlier event was, once that is known: `[stream.NAME.labels]`.

    Such a record has the event's key and other entities, a time of its own, and `field` isn't null: 1 is an anomaly.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Entity
    event_time: Entity
    delay: str = "7d"
    topic: str = ""  # of labels alone, that `skim join` copies into the stream's

    @property
    def seconds(self) -> float:
        """How long after its event a label may come at the earliest, s."""
        return seconds(self.delay) or 0.0


class Definition(BaseModel):
    """What `[stream.NAME]` may say; docs/own-stream.md has the table. Relative paths are from the file's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", exclude=True)
    topic: str = ""
    framing: Choice | None = None
    schema_file: Path | None = Field(default=None, alias="schema")
    model: Path | None = None
    key: Entity
    time: Entity
    time_format: TimeFormat | None = None
    event: str = ""
    numbers: tuple[Entity, ...] = ()
    categories: tuple[Entity, ...] = ()
    entities: tuple[Entity, ...] = ()
    integers: tuple[Entity, ...] = ()
    half_lives: tuple[str, ...] = Field(("1h", "1d", "7d"), min_length=1, max_length=8)
    features: tuple[Group, ...] = Field(USUAL, min_length=1)
    resolution: dict[str, Annotated[float, Field(ge=0, le=1e30)]] = {}
    units: dict[str, Annotated[str, Field(max_length=30)]] = {}
    gates: tuple[str, ...] = Field((), max_length=20)
    labels: LabelFeed | None = None
    remembered: Annotated[int, Field(ge=1, le=256)] = 16
    day_begins: str = "00:00"
    window_days: Annotated[int, Field(ge=1, le=366)] = 1
    kept: Annotated[int, Field(ge=1, le=100_000)] | None = None

    @property
    def plan(self) -> Plan:
        """Which features to make."""
        return Plan(
            self.numbers,
            self.categories,
            (self.key, *self.entities),
            tuple(seconds(one) or 1.0 for one in self.half_lives),
            tuple(group for group in GROUPS if group in self.features),
            tuple(self.resolution.get(name, 0.0) for name in self.numbers),
            self.units,
            self.remembered,
            self.labels is not None,
        )

    @property
    def conditions(self) -> tuple[Gate, ...]:
        """The gates, read."""
        found = (gate(one) for one in self.gates)
        return tuple(one for one in found if one is not None)

    @property
    def day_shift(self) -> float:
        """When a day begins, s after midnight UTC."""
        hour, _, minute = self.day_begins.partition(":")
        return int(hour) * 3_600.0 + int(minute) * 60.0

    @property
    def digest(self) -> str:
        """Changes with all that changes what is remembered: another definition can't go on with this one's state."""
        faces = {"topic", "framing", "schema_file", "model", "features", "units", "kept", "day_begins", "window_days"}
        left_out: dict[str, bool | set[str]] = {**dict.fromkeys(faces, True), "labels": {"topic"}}
        remembering = "".join(one for one in ("excess", "streak") if one in self.features)
        return sha256((self.model_dump_json(exclude=left_out) + remembering).encode()).hexdigest()[:8]

    @property
    def named(self) -> tuple[str, ...]:
        """All fields that are spoken of, but in gates."""
        every = (self.key, *self.entities, self.time, self.event, *self.numbers, *self.categories)
        return tuple(dict.fromkeys(one for one in every if one))


class DefinitionError(SkimError):
    """`[stream.…]` is wrong. `problems` are all there is, each with its key, its line and the nearest valid name."""

    def __init__(self, problems: list[str], file: Path | None) -> None:
        super().__init__(f"streams of {file or 'settings'}:\n  " + "\n  ".join(problems))
        self.problems = problems
        self.file = file


def define(name: str, table: Any, folder: Path) -> tuple[Definition | None, list[Problem]]:
    """The definition, or all that is wrong with it."""
    if not isinstance(table, Mapping):
        return None, [("", f"is a {type(table).__name__}, expected a table: [stream.{name}]")]
    table, problems = dict(table), unfit_name(name)
    for path in ("schema", "model"):
        if isinstance(table.get(path), str):
            table[path] = folder / table[path]
    if "name" in table:
        problems.append(("name", _unknown("name")))
        table.pop("name")
    made = None
    while made is None:  # once more without what is wrong, so that all is found
        try:
            made = Definition.model_validate({**table, "name": name})
        except ValidationError as error:
            for one in error.errors():
                key = str(one["loc"][0]) if one["loc"] else ""
                problems.append((_dotted(one["loc"]), _said(one)))
                if one["type"] == "missing" and key != "labels":
                    table[key] = "?"
                else:
                    table.pop(key, None)
    unknown = {key.partition(".")[0] for key, _ in problems}
    problems += [one for one in _crosswise(made, folder) if one[0] not in unknown]
    return (None if problems else made), problems


def seconds(text: str) -> float | None:
    """A half-life in seconds.

    >>> seconds("7d"), seconds("90min"), seconds("soon")
    (604800.0, 5400.0, None)
    """
    found = HALF_LIFE.fullmatch(text)
    return float(found[1]) * SECONDS[found[2]] or None if found else None


def gate(text: str) -> Gate | None:
    """A gate; None if it is none.

    >>> gate("amount >= 0.5"), gate("status == 'paid'"), gate("amount")
    (Gate(field='amount', operator='>=', value=0.5), Gate(field='status', operator='==', value='paid'), None)
    """
    found = GATE.fullmatch(text)
    if not found:
        return None
    field, operator, single, double, number = found.groups()
    if number is None:
        return Gate(field, operator, double if single is None else single)
    try:
        return Gate(field, operator, float(number))
    except ValueError:
        return None


def nearest(wrong: str, right: Iterable[str]) -> str:
    """ "; did you mean …?", if something is near."""
    found = difflib.get_close_matches(wrong.lower(), list(right), 1, 0.5)
    return f"; did you mean {found[0]}?" if found else ""


def _dotted(place: Sequence[int | str]) -> str:
    """The key that an error is of, without numbers of elements."""
    return ".".join(one for one in place if isinstance(one, str)) if place[:1] == ("labels",) else str(*place[:1])


def _keys() -> list[str]:
    every = (field.alias or name for name, field in Definition.model_fields.items())
    return [name for name in every if name != "name"]


def _unknown(key: str) -> str:
    return f"there is no such key{nearest(key, _keys()) or '; there are ' + ', '.join(_keys())}"


def _said(error: Mapping[str, Any]) -> str:
    """pydantic's finding in our words, where ours say more."""
    given, key = error.get("input"), str(error["loc"][0]) if error["loc"] else ""
    if key == "labels" and error["type"] in ("missing", "extra_forbidden"):
        return f"labels have field, event_time, delay and topic{nearest(str(error['loc'][-1]), LabelFeed.model_fields)}"
    if error["type"] == "extra_forbidden":
        return _unknown(key)
    if error["type"] == "missing":
        return "is missing: " + {"key": "name the field of whose history events are compared"}.get(
            key, "name the field that says when an event was"
        )
    if error["type"] == "literal_error" and isinstance(given, str):
        allowed = {"features": get_args(Group), "time_format": get_args(TimeFormat)}.get(
            key, ("auto", "container", "confluent", "key", "plain", "bson", "json")
        )
        return f"{given!r} is none of {', '.join(allowed)}{nearest(given, allowed)}"
    return f"{str(error['msg'])[0].lower()}{str(error['msg'])[1:]}; it is {str(given)[:60]!r}"


def unfit_name(name: str) -> list[Problem]:
    """What is wrong with a stream's name, if anything."""
    from .registry import NAMES

    if name in NAMES:
        return [("", f"{name} is a stream of skimstream's own; call yours something else")]
    if not NAME.fullmatch(name):
        return [("", f"{name!r} is no name: lower-case letters, digits, - and _, a letter first, 50 at most")]
    return []


def _crosswise(of: Definition, folder: Path) -> Iterable[Problem]:
    """What is wrong between the keys, and between them and the schema."""
    ids = {"key": of.key, "time": of.time, "event": of.event}
    for key, fields in (("numbers", of.numbers), ("categories", of.categories), ("entities", of.entities)):
        for field in fields:
            if field.startswith(RULE):
                yield key, f"{field}: names that begin with {RULE} are kept for rules"
            for other, name in ids.items():
                if field == name and not (other == "event" and key == "entities"):
                    yield key, f"{field} is the {other}, which is never a feature"
        if len(set(fields)) < len(fields):
            yield key, "names a field twice"
    for field in sorted({*of.numbers} & {*of.categories, *of.entities}):
        yield "numbers", f"{field} is a category or an entity, too: choose one"
    for field in sorted({*of.categories} & {*of.entities}):
        yield "categories", f"{field} is an entity, too: choose one"
    if not of.numbers and not of.categories and not of.entities:
        yield "numbers", "name at least one number, category or entity"
    if len(of.named) > MOST_FIELDS:
        yield "numbers", f"{len(of.named)} fields in all, {MOST_FIELDS} are allowed"
    yield from _names_that_are_not(of)
    for text in of.half_lives:
        if seconds(text) is None:
            yield "half_lives", f"{text!r} is no time; write 30min, 12h or 7d"
    if len(set(map(seconds, of.half_lives))) < len(of.half_lives):
        yield "half_lives", "names one twice"
    if of.labels is not None:
        if seconds(of.labels.delay) is None:
            yield "labels", f"delay: {of.labels.delay!r} is no time; write 12h or 7d"
        for field in (of.labels.field, of.labels.event_time):
            if field in of.named:
                yield "labels", f"{field} is a field of events, too; labels need one of their own"
    elif "streak" in of.features or ("risk" in of.features and of.features != USUAL):
        group = "streak" if "streak" in of.features else "risk"
        yield "features", f"{group} needs labels: [stream.NAME.labels]"
    if not CLOCK.fullmatch(of.day_begins):
        yield "day_begins", f"{of.day_begins!r} is no time of day; write 12:00 (UTC)"
    if not of.plan.features:
        yield "features", f"{', '.join(of.features)} need fields that aren't named"
    elif len(of.plan.features) > MOST_FEATURES:
        yield "features", f"would be {len(of.plan.features)}, {MOST_FEATURES} are allowed: name fewer half_lives"
    elif len(set(of.plan.features)) < len(of.plan.features):
        yield "numbers", "two features would have one name: rename a field"
    if not all(name.isprintable() for name in (*of.named, *of.units.values())):
        yield "numbers", "names and units are printable"
    yield from _against_schema(of, folder)


def _names_that_are_not(of: Definition) -> Iterable[Problem]:
    """Names of fields, in keys that only speak of fields, which no other key has."""
    for key, spoken_of, known in (
        ("resolution", of.resolution, of.numbers),
        ("units", of.units, of.numbers),
        ("integers", of.integers, tuple(one for one in of.named if one not in (*of.numbers, of.time))),
    ):
        for field in spoken_of:
            if field not in known:
                yield key, f"{field} is none of {', '.join(known) or 'the fields'}{nearest(field, known)}"
    for text in of.gates:
        one = gate(text)
        if one is None:
            yield "gates", f"{text!r} is no gate; write amount > 0 or status == 'paid'"
        elif isinstance(one.value, str) and (one.field in of.numbers or one.operator not in ("==", "!=")):
            yield "gates", f"{text!r}: texts are compared by == and !=, numbers with numbers"
        elif isinstance(one.value, float) and one.field in of.named and one.field not in of.numbers:
            yield "gates", f"{text!r}: {one.field} is a text; write {one.field} {one.operator} '{one.value:g}'"


def _against_schema(of: Definition, folder: Path) -> Iterable[Problem]:
    """A pinned schema has the fields, and of the right types."""
    if of.schema_file is None:
        if of.framing == "plain":
            yield "framing", 'bare records ("plain") need their schema: schema = "FILE.avsc"'
        return
    if of.framing not in (None, "plain"):
        yield "schema", f'messages of the framing "{of.framing}" bring their own schema: leave it out'
    try:
        types = avro_types(of.schema_file)
    except (OSError, ValueError) as error:
        yield "schema", f"{of.schema_file} can't be read: {error}"
        return
    texts = [("key", of.key), ("event", of.event), *(("categories", one) for one in of.categories)]
    texts += [("entities", one) for one in of.entities]
    wanted: list[tuple[str, str, tuple[str, ...]]] = [
        (key, field, INTEGERS if field in of.integers else TEXTS) for key, field in texts
    ]
    wanted += [("numbers", field, NUMBERS) for field in of.numbers]
    wanted.append(("time", of.time, TEXTS if time_format(of) == "iso8601" else NUMBERS))
    for key, field, allowed in wanted:
        if not field or field == "?":
            continue
        if field not in types:
            yield key, f"the schema has no field {field}{nearest(field, types)}"
        elif types[field][0] not in allowed:
            hint = ": add it to integers" if allowed is TEXTS and types[field][0] in INTEGERS else ""
            if key == "time":
                hint = ": set time_format"
            yield key, f"{field} is a {types[field][0]}, expected {' or '.join(allowed)}{hint}"


def time_format(of: Definition) -> TimeFormat:
    """How the time is written: as said, else by the schema's logical type, else in ISO 8601."""
    if of.time_format is not None:
        return of.time_format
    if of.schema_file is not None:
        return LOGICAL.get(avro_types(of.schema_file).get(of.time, ("", ""))[1], "iso8601")
    return "iso8601"


def avro_types(file: Path) -> dict[str, tuple[str, str]]:
    """Field (dotted path) → type and logical type, of a record's .avsc file; null is left out of unions.

    Raises `OSError` and `ValueError`.
    """
    schema = json.loads(file.read_text())
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise ValueError("it is no record's Avro schema")
    return dict(_types(schema, ""))


def _types(schema: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, tuple[str, str]]]:
    for field in schema.get("fields", []):
        kind = field["type"]
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if isinstance(kind, dict) and kind.get("type") == "record":
            yield from _types(kind, f"{prefix}{field['name']}.")
        elif isinstance(kind, dict):
            yield prefix + field["name"], (str(kind.get("type")), str(kind.get("logicalType", "")))
        else:
            yield prefix + field["name"], (str(kind), "")
