"""The events of a batch that may belong on the board, as JSON.

The only step that looks at single events: a full list of 1,000 takes one event in a few hundred, timelines one in 100.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scoring.ensemble import Scores
from ..scoring.threshold import SEVERITIES
from .board import Board, Row
from .partition import Featured, Partition
from .streams.base import Floats, Ints, night_name


def rows_of(partition: Partition, featured: Featured, scores: Scores, board: Board) -> list[Row]:
    """The events that may change a night's list, and for the timelines the notable ones.

    May change it: not below its floor once it is full, and not below what their object has.
    """
    stream, columns = partition.stream, featured.columns
    nights = stream.nights(columns)[featured.rows]
    floor = np.zeros(len(nights))
    for night in np.unique(nights).tolist():
        floor[nights == night] = board.floor(night)
    placed = scores.score >= floor  # no score (NaN) yet: no place, and nothing to note
    best: dict[tuple[int, str], float] = {}
    for i in np.flatnonzero(placed).tolist():
        one, score = (int(nights[i]), stream.object_id(columns, int(featured.rows[i]))), float(scores.score[i])
        placed[i] = score >= max(best.get(one, score), board.best(*one))
        best[one] = max(best.get(one, score), score)
    notable: NDArray[np.bool_] = np.isfinite(scores.score) & scores.alarms.any(axis=1)
    details = _details(partition, featured, scores, nights, np.flatnonzero(placed))
    rows = []
    for i in np.flatnonzero(placed | notable).tolist():
        row, score = int(featured.rows[i]), float(scores.score[i])
        event, owner = stream.event_id(columns, row), stream.object_id(columns, row)
        line = {
            "event": event,
            "score": score,
            "severity": _severity(scores.alarms[i]),
            "candidate": stream.describe(columns, row),
        }
        whole = _json(details[i]) if placed[i] else ""
        rows.append(Row(int(nights[i]), owner, score, event, whole, _json(line), bool(notable[i])))
    return rows


def _details(
    partition: Partition, featured: Featured, scores: Scores, nights: Ints, chosen: Ints
) -> dict[int, dict[str, Any]]:
    """All that is to be known of the chosen events, by their place in the batch."""
    stream, columns, parts = partition.stream, featured.columns, partition.ensemble.parts
    why = partition.explain(featured.matrix, scores, chosen)
    calibrated = partition.model.probability
    likely = None if calibrated is None else calibrated.apply(scores.raw[chosen, 0])
    found = {}
    for place, i in enumerate(chosen.tolist()):
        row = int(featured.rows[i])
        curve = stream.light_curve(columns, row)
        details: dict[str, Any] = {
            "event": stream.event_id(columns, row),
            "night": night_name(int(nights[i])),
            "score": float(scores.score[i]),
            "combined": float(scores.combined[i]),
            **({} if likely is None else {"probability": float(likely[place])}),
            "raw": _by_part(parts, scores.raw[i]),
            "z": _by_part(parts, scores.z[i]),
            "severity": _severity(scores.alarms[i]),
            "reasons": [reason.to_json() for reason in why.reasons(place)],
            "explained": why.table(place),
            **({} if curve is None else {"lightcurve": curve}),
            "features": {
                name: float(value)
                for name, value in zip(stream.features, featured.matrix[i], strict=True)
                if np.isfinite(value)
            },
            "model": partition.model_id,
            "candidate": stream.describe(columns, row),
        }
        if scores.shadow is not None:
            details["shadow"] = {
                "model": partition.shadow_id,
                "score": _known(scores.shadow.score[i]),
                "combined": _known(scores.shadow.combined[i]),
            }
        found[i] = details
    return found


def _by_part(parts: tuple[str, ...], values: Floats) -> dict[str, float | None]:
    return {part: _known(v) for part, v in zip(parts, values, strict=True)}


def _severity(alarms: NDArray[np.bool_]) -> str | None:
    """The highest of an event's severities."""
    raised = [name for name, alarm in zip(SEVERITIES, alarms, strict=True) if alarm]
    return raised[-1] if raised else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
