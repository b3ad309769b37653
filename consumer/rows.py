"""The events of a batch that may belong on the board, as JSON.

The only step that looks at single events: a full list of 1,000 takes one event in a few hundred, timelines one in 100.
"""

from collections.abc import Mapping
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

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
    for i, severity in _severities(scores, np.flatnonzero(wanted | notable)).items():
        row, score = int(featured.rows[i]), float(scores.score[i])
        known = details.get(i)
        event, owner = stream.event_id(columns, row), stream.object_id(columns, row)
        line = {
            "event": event,
            "score": score,
            "severity": severity,
            "candidate": known["candidate"] if known else stream.describe(columns, row),
        }
        whole = _json(known) if known and placed[i] else ""
        alert = _alert(partition, work, row, owner, asked[i], known) if known and i in asked else None
        rows.append(Row(int(nights[i]), owner, score, event, whole, _json(line), bool(notable[i]), alert))
    return rows


def _asked(partition: Partition, featured: Featured, scores: Scores, matched: Bools) -> dict[int, dict[str, bool]]:
    """The events above some rule's bar that meet its conditions: by place, the rules and whether they have channels."""
    stream, columns, rules = partition.stream, featured.columns, partition.monitor.rules
    found: dict[int, dict[str, bool]] = {}
    if not matched.any():
        return found
    for i, known in _verdicts(partition, featured, scores, np.flatnonzero(matched.any(axis=1))).items():
        row = int(featured.rows[i])
        record = {
            "object": stream.object_id(columns, row),
            "event": stream.event_id(columns, row),
            **known,
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
    if not len(chosen):
        return {}  # as of most small batches of a night whose list is full
    stream, columns, parts = partition.stream, featured.columns, partition.ensemble.parts
    why = partition.explain(featured.matrix, scores, chosen)
    calibrated = partition.model.probability
    likely = None if calibrated is None else calibrated.apply(scores.raw[chosen, 0])
    raw, z = _known(scores.raw[chosen]), _known(scores.z[chosen])
    found = {}
    for place, (i, verdict) in enumerate(_verdicts(partition, featured, scores, chosen).items()):
        row, features = int(featured.rows[i]), verdict.pop("features")
        curve = stream.light_curve(columns, row)
        details: dict[str, Any] = {
            "event": stream.event_id(columns, row),
            **verdict,
            **({} if likely is None else {"probability": float(likely[place])}),
            "raw": dict(zip(parts, raw[place], strict=True)),
            "z": dict(zip(parts, z[place], strict=True)),
            "reasons": [reason.to_json() for reason in why.reasons(place)],
            "explained": why.table(place),
            **({} if curve is None else {"lightcurve": curve}),
            "features": features,
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


def _verdicts(partition: Partition, featured: Featured, scores: Scores, chosen: Ints) -> dict[int, dict[str, Any]]:
    """By place: night, scores, severity, model, and the features that are there."""
    names, there = partition.stream.features, np.isfinite(featured.matrix[chosen]).tolist()
    return {
        i: {
            "night": night_name(night),
            "score": score,
            "combined": combined,
            "severity": severity,
            "model": partition.model_id,
            "features": dict(compress(zip(names, values, strict=True), have)),
        }
        for (i, severity), night, score, combined, values, have in zip(
            _severities(scores, chosen).items(),
            featured.nights[chosen].tolist(),
            scores.score[chosen].tolist(),
            scores.combined[chosen].tolist(),
            featured.matrix[chosen].tolist(),
            there,
            strict=True,
        )
    }


def _severities(scores: Scores, chosen: Ints) -> dict[int, str | None]:
    """By place, the highest of an event's severities."""
    ranks = np.where(scores.alarms[chosen], np.arange(1, len(SEVERITIES) + 1), 0).max(axis=1, initial=0)
    names = (None, *SEVERITIES)
    return {i: names[rank] for i, rank in zip(chosen.tolist(), ranks.tolist(), strict=True)}


def _known(values: Floats | np.float64) -> Any:
    """As Python's numbers; None for what isn't known."""
    return np.where(np.isfinite(values), values, None).tolist()  # type: ignore[call-overload]


def _json(value: Any) -> str:
    return to_json(value, ensure_ascii=True, inf_nan_mode="null").decode()
