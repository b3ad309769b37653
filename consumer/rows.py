"""The events of a batch that may belong on the board, as JSON.

The only step that looks at single events: a full list of 1,000 takes one event in a few hundred, timelines one in 100.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scoring.ensemble import Scores
from ..scoring.threshold import SEVERITIES
from .alert import Alert, alert_of
from .board import Board, Row
from .monitor import Bools
from .partition import Featured, Partition
from .streams.base import Floats, Ints, night_name
from .work import Work


def rows_of(
    partition: Partition,
    featured: Featured,
    scores: Scores,
    board: Board,
    matched: Bools,
    work: Work,
) -> list[Row]:
    """The events that may change a night's list, for the timelines the notable ones, and those that rules ask for.

    May change it: not below its floor once it is full, and not below what their object has. matched: bool[k, rules].
    """
    stream, columns, nights = partition.stream, featured.columns, featured.nights
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
    asked = _asked(partition, featured, scores, matched)
    wanted = placed.copy()
    wanted[list(asked)] = True
    details = _details(partition, featured, scores, np.flatnonzero(wanted))
    rows = []
    for i in np.flatnonzero(wanted | notable).tolist():
        row, score = int(featured.rows[i]), float(scores.score[i])
        event, owner = stream.event_id(columns, row), stream.object_id(columns, row)
        line = {
            "event": event,
            "score": score,
            "severity": _severity(scores.alarms[i]),
            "candidate": stream.describe(columns, row),
        }
        whole = _json(details[i]) if placed[i] else ""
        alert = _alert(partition, work, row, owner, asked[i], details[i]) if i in asked else None
        rows.append(Row(int(nights[i]), owner, score, event, whole, _json(line), bool(notable[i]), alert))
    return rows


def _asked(partition: Partition, featured: Featured, scores: Scores, matched: Bools) -> dict[int, dict[str, bool]]:
    """The events above some rule's bar that meet its conditions: by place, the rules and whether they have channels."""
    stream, columns, rules = partition.stream, featured.columns, partition.monitor.rules
    found = {}
    for i in np.flatnonzero(matched.any(axis=1)).tolist():
        row = int(featured.rows[i])
        record = {
            "object": stream.object_id(columns, row),
            "event": stream.event_id(columns, row),
            **_verdict(partition, featured, scores, i),
            "features": _features(partition, featured, i),
            "candidate": stream.describe(columns, row),
        }
        met = {
            rule.name: bool(rule.channels)
            for rule, above in zip(rules, matched[i].tolist(), strict=True)
            if above and rule.admits(record)
        }
        if met:
            found[i] = met
    return found


def _alert(
    partition: Partition, work: Work, row: int, owner: str, rules: Mapping[str, bool], details: Mapping[str, Any]
) -> Alert:
    batch, message = work.batch, int(work.index[row])
    place = f"{batch.name}/{batch.offsets[message]}"
    return alert_of(place, partition.stream.name, owner, batch.timestamps[message], rules, details)


def _details(partition: Partition, featured: Featured, scores: Scores, chosen: Ints) -> dict[int, dict[str, Any]]:
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
            **_verdict(partition, featured, scores, i),
            **({} if likely is None else {"probability": float(likely[place])}),
            "raw": _by_part(parts, scores.raw[i]),
            "z": _by_part(parts, scores.z[i]),
            "reasons": [reason.to_json() for reason in why.reasons(place)],
            "explained": why.table(place),
            **({} if curve is None else {"lightcurve": curve}),
            "features": _features(partition, featured, i),
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


def _verdict(partition: Partition, featured: Featured, scores: Scores, i: int) -> dict[str, Any]:
    return {
        "night": night_name(int(featured.nights[i])),
        "score": float(scores.score[i]),
        "combined": float(scores.combined[i]),
        "severity": _severity(scores.alarms[i]),
        "model": partition.model_id,
    }


def _features(partition: Partition, featured: Featured, i: int) -> dict[str, float]:
    names = partition.stream.features
    return {name: float(v) for name, v in zip(names, featured.matrix[i], strict=True) if np.isfinite(v)}


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
