"""Recorded events scored again, as workers scored them: a partition by a detector of its own, event by event.

A score is a function of the model and the partition's records before it, so the same records give the same scores; a
worker that began later, or changed its model on the way, has had others.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..consumer.streams.base import Features, Stream
from ..schemas.columns import Columns
from ..scoring.ensemble import Scores
from ..scoring.model import Model
from ..scoring.verdict import Judged
from .known import Known

Floats = NDArray[np.float64]


@dataclass(slots=True)
class _Rows:
    """Scorable events of one partition in order, a block an element."""

    matrix: list[Floats] = field(default_factory=list)
    time: list[Floats] = field(default_factory=list)
    night: list[NDArray[np.int64]] = field(default_factory=list)
    event: list[str] = field(default_factory=list)
    owner: list[str] = field(default_factory=list)


class Rescored:
    """Takes events with their features (as `Gatherer.heard`) and labels that stand among them, then judges."""

    def __init__(self, stream: Stream, model: Model, ordered: bool) -> None:
        """ordered: blocks come in the order of the partition; else they are put into that of time."""
        self.stream, self.model, self.ordered = stream, model, ordered
        self.partitions: dict[int, _Rows] = {}
        self.known = Known()
        self.silent = 0

    def heard(self, partition: int, columns: Columns, found: Features, time: Floats) -> None:
        """A block of a partition's records, and the features of those that are scorable."""
        from ..consumer.label import Label
        from ..consumer.streams.own import Own

        stream, rows = self.stream, self.partitions.setdefault(partition, _Rows())
        if isinstance(stream, Own):
            labels = stream.labels(columns)
            for row in np.flatnonzero(~np.isnan(labels)).tolist():
                self.known.add(Label(stream.event_id(columns, row), labels[row] == 1, float(time[row])))
        rows.matrix.append(found.matrix)
        rows.time.append(time[found.rows])
        rows.night.append(stream.nights(columns)[found.rows])
        for row in found.rows.tolist():
            rows.event.append(stream.event_id(columns, row))
            rows.owner.append(stream.object_id(columns, row))

    def judged(self, known: Known, delay: float, first: float, last: float, nights: set[int]) -> tuple[Judged, int]:
        """The events of which it is known what they were, from `first` to before `last` (s since 1970), of these nights
        if any are named; and how many labels have found their event."""
        parts, owners, matched = [], dict[str, int](), set[str]()
        for partition in sorted(self.partitions):
            rows = self.partitions[partition]
            matrix, time, night = np.concatenate(rows.matrix), np.concatenate(rows.time), np.concatenate(rows.night)
            order = np.arange(len(time)) if self.ordered else np.argsort(time, kind="stable")
            events = [rows.event[place] for place in order.tolist()]
            scores = self._scores(matrix[order])
            owner = np.array([owners.setdefault(rows.owner[place], len(owners)) for place in order.tolist()], np.int64)
            time, night = time[order], night[order]
            matched |= known.labels.keys() & set(events)
            kept, anomaly = known.judge(events, time, delay)
            kept &= (time >= first) & (time < last)
            kept &= np.isin(night, list(nights)) if nights else True
            warm = ~np.isnan(scores.score)
            self.silent += int((kept & ~warm).sum())
            kept &= warm
            parts.append(
                (anomaly[kept], scores.score[kept], scores.combined[kept], scores.raw[kept], owner[kept], night[kept])
            )
        if not parts:
            parts.append((np.empty(0, np.bool_), *np.empty((2, 0)), np.empty((0, len(self.model.parts))), *_none()))
        anomaly, score, combined, raw, owner, night = (np.concatenate(one) for one in zip(*parts, strict=True))
        return Judged(anomaly, score, combined, raw, self.model.parts, owner, night), len(matched)

    def _scores(self, matrix: Floats) -> Scores:
        return self.model.ensemble().score_learn(matrix)


def _none() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.empty(0, np.int64), np.empty(0, np.int64)
