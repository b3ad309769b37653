"""An alert: a scored event that rules asked for, as everybody hears of it.

The record is JSON-ready, and the topic of anomalies has it as Avro (schemas/avsc/anomaly): an object container a
message, so that any reader knows its schema.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import fastavro

from .. import schemas
from .outgoing import Parcel, Undeliverable, Wire

VERSION = "1"
# What a page of features needs and a message doesn't.
LEFT_OUT = frozenset({"explained", "z", "shadow"})


class AnnouncementError(Undeliverable):
    """An alert couldn't be delivered to the topic of anomalies, so the batch must not be committed."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(
            f"the topic of anomalies {topic} doesn't take messages ({problem}); see that it exists and is writable, "
            'or have none: anomalies.topic = ""'
        )
        self.topic = topic
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Alert:
    """One event. `told`: whether any of its rules has channels, beside the topic."""

    record: Mapping[str, Any]
    told: bool

    @property
    def id(self) -> str:
        """`<topic>/<partition>/<offset>`: the same after every crash."""
        return str(self.record["id"])

    def to_json(self) -> str:
        """For the outbox."""
        return json.dumps(self.record, separators=(",", ":"), allow_nan=False)


def alert_of(
    place: str,
    stream: str,
    owner: str,
    timestamp: int,
    rules: Mapping[str, bool],
    details: Mapping[str, Any],
) -> Alert:
    """The alert of an event: `place` where it stands, `rules` those it meets and whether they have channels."""
    kept = {name: value for name, value in details.items() if name not in LEFT_OUT}
    record = {
        "id": place,
        "stream": stream,
        "object": owner,
        "timestamp": timestamp,
        "rules": list(rules),
        **kept,
    }
    return Alert(record, any(rules.values()))


@dataclass(frozen=True, slots=True)
class Announcement:
    """An alert on its way to the topic of anomalies. A `Parcel`."""

    topic: str
    alert: Alert

    @property
    def key(self) -> bytes:
        """The object: all that is said of it is in one partition, in order."""
        return str(self.alert.record["object"]).encode("utf-8", "replace")

    @property
    def value(self) -> bytes:
        """Avro."""
        out = io.BytesIO()
        # The id as the file's sync marker would do as well; a fixed one makes equal alerts equal bytes.
        fastavro.writer(out, _schema(), [self.alert.record], sync_marker=b"skimstream alert")
        return out.getvalue()

    def headers(self) -> Wire:
        """Its id, for those who deduplicate without decoding."""
        return [("id", self.alert.id.encode())]

    def lighter(self) -> Parcel | None:
        """There is none: an alert is a few kilobytes."""
        return None

    def refused(self, problem: str) -> AnnouncementError:
        """What it means if the topic doesn't take it."""
        return AnnouncementError(self.topic, problem)


@cache
def _schema() -> Any:
    text = files(schemas).joinpath("avsc", "anomaly", f"{VERSION}.avsc").read_text(encoding="utf-8")
    return fastavro.parse_schema(json.loads(text))
