"""What is known of events: labels from a file or a topic, and what follows for events that have none."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..consumer.label import Label, label_of, read
from ..consumer.stored import stored
from ..consumer.streams.definition import TimeFormat
from ..schemas.errors import DecodeError
from .csvfile import is_csv
from .labels import LabelError


@dataclass(slots=True)
class Known:
    """Labels by event; of several of one event the latest counts, of equally late ones the last."""

    labels: dict[str, Label] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, label: Label) -> None:
        """One more."""
        before = self.labels.get(label.event)
        if before is None or not label.time < before.time:
            self.labels[label.event] = label

    @property
    def both(self) -> bool:
        """Whether ordinary events have labels, too; then those without any are unknown, else ordinary."""
        return any(not one.anomaly for one in self.labels.values())

    @property
    def latest(self) -> float:
        """When the last one became known, s since 1970; NaN if none says it."""
        return max((one.time for one in self.labels.values() if not math.isnan(one.time)), default=math.nan)

    def judge(
        self, events: Iterable[str], time: NDArray[np.float64], delay: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool[n] each: of which events it is known what they were, and which of them were anomalies.

        Where anomalies alone have labels, events without are ordinary, but only those of which `delay` (s) was over
        before the last label came: of what is younger nobody can say, and what is known of it already is no fair share.
        """
        found = [self.labels.get(event) for event in events]
        anomaly = np.array([one is not None and one.anomaly for one in found], np.bool_)
        known = np.array([one is not None for one in found], np.bool_)
        if not self.both:
            latest = self.latest
            known = np.full(len(time), True) if math.isnan(latest) else time <= latest - delay
        return known, anomaly


def of_file(path: Path, time_format: TimeFormat) -> Known:
    """Labels of a CSV file (`event_id`, `label`, `time`) or of JSON lines. Raises `LabelError`, naming the line."""
    known = Known()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(str(path), f"can't be read: {error}") from error
    lines: Iterable[str | dict[str, Any]] = text.splitlines()
    if is_csv(path.name):
        lines = csv.DictReader(io.StringIO(text, newline=""))
    for number, line in enumerate(lines, 2 if is_csv(path.name) else 1):
        try:
            if isinstance(line, str):
                if line.strip():
                    known.add(read(line.encode(), time_format))
            else:
                known.add(label_of(_cells(line, time_format), time_format))
        except DecodeError as error:
            raise LabelError(str(path), f"line {number}: {error.detail}") from error
    return known


def of_topic(options: Mapping[str, object], topic: str, time_format: TimeFormat) -> Known:
    """All labels that a topic holds; what is none is counted."""
    known = Known()
    for message in stored(options, topic):
        try:
            known.add(read(message.value(), time_format))
        except DecodeError:
            known.unreadable += 1
    return known


def _cells(line: Mapping[str, str | None], time_format: TimeFormat) -> dict[str, object]:
    cells: dict[str, object] = {name: cell for name, cell in line.items() if cell}
    if time_format != "iso8601" and "time" in cells:
        try:
            cells["time"] = float(str(cells["time"]))
        except ValueError as error:
            raise DecodeError("invalid", f"{cells['time']!r} is no time in {time_format}") from error
    return cells
