"""One partition's detector: its features' memory and its ensemble. Columns go in, scored events come out."""

import json
from dataclasses import dataclass

import numpy as np

from ..schemas.columns import Columns
from ..schemas.errors import DecodeError
from ..scoring.ensemble import PARTS, Scores
from ..scoring.explain import reasons
from ..scoring.model import Model
from .board import Board, Row
from .streams.base import Floats, Ints, Stream, night_name


@dataclass(frozen=True, slots=True)
class Featured:
    """The scorable events of a batch: `rows` int64[k] point into `columns`, `matrix` is float64[k, f]."""

    columns: Columns
    rows: Ints
    matrix: Floats
    unscored: dict[str, int]


class Partition:
    """State of one partition between two assignments. Not shared: two partitions know nothing of each other."""

    def __init__(self, stream: Stream, model: Model) -> None:
        self.stream = stream
        self.model = model
        self.model_id = model.id
        self.state = stream.open()
        self.ensemble = model.ensemble()
        self.evicted_told = 0  # how many of the forgotten entities the metrics know of

    def check(self, columns: Columns) -> tuple[Columns, Ints, list[tuple[int, DecodeError]]]:
        """The records whose values can be right, where they stood, and the others with what is wrong."""
        faults = self.stream.check(columns)
        if not faults:
            return columns, np.arange(len(columns)), faults
        good = np.ones(len(columns), np.bool_)
        good[[row for row, _ in faults]] = False
        kept = np.flatnonzero(good)
        return columns.take(kept), kept, faults

    def features(self, columns: Columns) -> Featured:
        """Features of valid records, in order; learns them."""
        found = self.state.features(columns)
        return Featured(columns, found.rows, found.matrix, dict(found.unscored))

    def score(self, featured: Featured) -> Scores:
        """Scores of the scorable events, each before it is learned, in order."""
        return self.ensemble.score_learn(featured.matrix)

    def rows(self, featured: Featured, scores: Scores, board: Board) -> list[Row]:
        """The events that may belong on the board: all until a night's list is full, then those above its floor.

        The only step that looks at single events: a full list of 1,000 takes one event in a few hundred.
        """
        nights = self.stream.nights(featured.columns)[featured.rows]
        floor = np.zeros(len(nights))
        for night in np.unique(nights).tolist():
            floor[nights == night] = board.floor(night)
        chosen = np.flatnonzero(scores.score >= floor).tolist()
        why = reasons(featured.matrix[chosen], self.ensemble.reference, self.stream.features)
        rows = []
        for i, because in zip(chosen, why, strict=True):
            row, night = int(featured.rows[i]), int(nights[i])
            event = self.stream.event_id(featured.columns, row)
            details = {
                "event": event,
                "night": night_name(night),
                "score": float(scores.score[i]),
                "combined": float(scores.combined[i]),
                "raw": _by_part(scores.raw[i]),
                "z": _by_part(scores.z[i]),
                "reasons": [
                    {
                        "feature": reason.feature,
                        "value": reason.value,
                        "usual": [reason.usual_low, reason.usual_high],
                        "deviation": reason.deviation,
                    }
                    for reason in because
                ],
                "features": {
                    name: float(value)
                    for name, value in zip(self.stream.features, featured.matrix[i], strict=True)
                    if np.isfinite(value)
                },
                "model": self.model_id,
                "candidate": self.stream.describe(featured.columns, row),
            }
            rows.append(
                Row(
                    night,
                    self.stream.object_id(featured.columns, row),
                    float(scores.score[i]),
                    event,
                    json.dumps(details, separators=(",", ":"), allow_nan=False),
                )
            )
        return rows


def _by_part(values: Floats) -> dict[str, float | None]:
    return {part: float(v) if np.isfinite(v) else None for part, v in zip(PARTS, values, strict=True)}
