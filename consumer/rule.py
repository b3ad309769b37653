"""A rule of the monitor: which scored events are worth a word, and to whom.

In TOML, as many as one likes:
    [[monitor]]
    name = "bright and odd"
    stream = "ztf"
    alerts_per_night = 10           # or min_score = 0.999, or false_alarm_rate = 1e-4
    where = ["candidate.drb > 0.9", "candidate.magpsf < 18.5"]
    cooldown = "6h"
    channels = ["team"]
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Record = Mapping[str, Any]

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
# Metrics, checkpoints and messages bear a rule's name.
NAME = r"^[\w .+-]{1,64}$"
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$")
FIELD = r"[A-Za-z_][\w.]*"
_CONDITION = re.compile(rf"^\s*({FIELD})\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*$", re.DOTALL)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def seconds(value: Any) -> Any:
    """A time as people write it, in seconds; what isn't a text is left as it is.

    >>> seconds("90s"), seconds("1.5h"), seconds(20)
    (90.0, 5400.0, 20)
    """
    if not isinstance(value, str):
        return value
    if (found := _DURATION.match(value)) is None:
        raise ValueError(f"{value!r} is no time: a number and s, m, h or d, such as 90s or 6h")
    return float(found[1]) * UNITS[found[2]]


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, le=366 * UNITS["d"])]


@dataclass(frozen=True, slots=True)
class Condition:
    """A field compared with a value; a record without the field, or with one of another kind, doesn't meet it.

    >>> Condition.read("candidate.drb > 0.9").holds({"candidate": {"drb": 0.95}})
    True
    >>> Condition.read("candidate.drb > 0.9").holds({"candidate": {"drb": None}})
    False
    """

    path: tuple[str, ...]
    compare: str
    value: float | str | bool | None

    @classmethod
    def read(cls, text: str) -> Self:
        """From `field > value`; the value is JSON (text in quotes). Raises `ValueError`."""
        found = _CONDITION.match(text)
        if found is None:
            raise ValueError(f'{text!r} is no condition: field > value, such as candidate.drb > 0.9 or object == "x"')
        try:
            value = json.loads(found[3])
        except ValueError as error:
            raise ValueError(f'{text!r}: {found[3]} is no number, "text", true, false or null') from error
        if isinstance(value, list | dict) or (found[2] not in ("==", "!=") and not _number(value)):
            raise ValueError(f"{text!r}: {found[2]} needs a number")
        return cls(tuple(found[1].split(".")), found[2], value)

    def holds(self, record: Record) -> bool:
        """Whether a record meets it."""
        field: Any = record
        for name in self.path:
            if not isinstance(field, Mapping) or name not in field:
                return False
            field = field[name]
        alike = type(field) is type(self.value) or (_number(field) and _number(self.value))
        if field is None or self.value is None:
            return self.compare == ("==" if field is self.value else "!=")
        return alike and _COMPARE[self.compare](field, self.value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Rule(BaseModel):
    """One `[[monitor]]`: a bar, conditions on fields, and where matches go beside the topic of anomalies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=NAME)] = ""
    stream: str = ""  # of all streams that this worker may run, if empty
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    alerts_per_night: Annotated[float, Field(gt=0, le=1e6)] | None = None
    false_alarm_rate: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    where: tuple[str, ...] = ()
    cooldown: Seconds = 0.0  # so long nothing more of the same object
    digest: Seconds = 0.0  # 0 = each at once; else all of so long in one message
    channels: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, data: Any) -> Any:
        """A single condition or channel needn't stand in brackets; a rule without a name is named by its bar."""
        if not isinstance(data, dict):
            return data
        data = {
            key: [value] if key in ("where", "channels") and isinstance(value, str) else value
            for key, value in data.items()
        }
        bars = [f"{bar} {data[bar]}" for bar in BARS if data.get(bar) is not None]
        return {"name": bars[0], **data} if len(bars) == 1 else data

    @model_validator(mode="after")
    def _sound(self) -> Self:
        given = [bar for bar in BARS if getattr(self, bar) is not None]
        if len(given) != 1:
            raise ValueError(f"needs one of {', '.join(BARS)}, not {' and '.join(given) or 'none'}")
        for text in self.where:
            Condition.read(text)
        return self

    @property
    def bar(self) -> tuple[str, float]:
        """What sets its threshold: one of `BARS`, and its number."""
        return next((name, getattr(self, name)) for name in BARS if getattr(self, name) is not None)

    def admits(self, record: Record) -> bool:
        """Whether a record meets all its conditions."""
        return all(Condition.read(text).holds(record) for text in self.where)


BARS = ("min_score", "alerts_per_night", "false_alarm_rate")


def for_stream(rules: tuple[Rule, ...], stream: str) -> tuple[Rule, ...]:
    """Those that concern a stream."""
    return tuple(rule for rule in rules if rule.stream in ("", stream))
