"""A label: what became known of an event, as JSON. A topic or a file of them is what people keep beside their events.

    {"event_id": "p4711", "label": 1, "time": "2026-11-20T03:00:00Z"}

`label` is 1 (true) for an anomaly and 0 (false) for none. Without it, `kind` says it, null for none, as `skim simulate`
writes what it knows; without both it is an anomaly. `time` is when it became known, as the stream writes times.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..schemas.errors import DecodeError
from ..schemas.framing import unframe
from .streams.definition import TimeFormat
from .streams.own import from_seconds, to_seconds

#: A stream's topic of labels, unless another is named.
SUFFIX = ".labels"
FIELDS = ("event_id", "label", "kind", "time")
YES, NO = (1, True, "1", "true"), (0, False, "0", "false")


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of an event. time: s since 1970, NaN if it isn't said."""

    event: str
    anomaly: bool
    time: float = math.nan


def read(value: bytes | None, time_format: TimeFormat = "iso8601") -> Label:
    """The label in a message. Raises `DecodeError`.

    >>> read(b'{"event_id": 17, "label": 0, "time": "1970-01-01T00:01:00Z"}')
    Label(event='17', anomaly=False, time=60.0)
    """
    found = unframe("json", value or b"", None, None, None)
    if not isinstance(found, Mapping):
        raise DecodeError("invalid", "a label is a JSON object")
    return label_of(found, time_format)


def label_of(record: Mapping[str, Any], time_format: TimeFormat = "iso8601") -> Label:
    """The label in a record. Raises `DecodeError`."""
    event = record.get("event_id")
    if isinstance(event, bool) or not isinstance(event, str | int) or event == "":
        raise DecodeError("invalid", "a label without event_id")
    said = record.get("label", record.get("kind", True) is not None)
    if isinstance(said, dict | list) or said not in (*YES, *NO):
        raise DecodeError("invalid", f"the label of {str(event)[:60]} is {str(said)[:20]!r}, and not 0 or 1")
    return Label(str(event), said in YES, seconds(record.get("time"), time_format))


def seconds(time: Any, time_format: TimeFormat) -> float:
    """A time as the stream writes it, in s since 1970; NaN for none. Raises `DecodeError`."""
    if time is None:
        return math.nan
    if isinstance(time, int | float) and math.isfinite(time):
        # A number beside times in ISO 8601 is in seconds, as simulated truths have it.
        return float(to_seconds(time, "seconds" if time_format == "iso8601" else time_format))
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError) as error:
        raise DecodeError("invalid", f"{str(time)[:60]!r} is no time") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def written(time: float, time_format: TimeFormat) -> str | int | float:
    """A time as the stream writes it, in whole seconds, none earlier than `time`, s since 1970.

    >>> written(59.5, "iso8601"), written(59.5, "milliseconds"), written(43_199.5, "mjd")
    ('1970-01-01T00:01:00Z', 60000, 40587.5)
    """
    whole = math.ceil(time)
    if time_format == "iso8601":
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%SZ}"
    found = from_seconds(whole, time_format)
    return found if time_format in ("mjd", "jd") else int(found)
