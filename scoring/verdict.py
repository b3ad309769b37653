"""How good scores were, by what became known of their events since: plain arrays in, figures with intervals out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import measure
from .evaluate import bootstrap, ranks
from .measure import Judge

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

RESAMPLES = 200
ROWS_AT_A_THRESHOLD = ("precision", "recall", "false_positive_rate")


@dataclass(frozen=True, slots=True)
class Judged:
    """Events of which it is known what they were, one a row: `anomaly` bool[n]; `score` float64[n], `combined`, the
    value behind it, and `raw` float64[n, p] of the `parts` (NaN = silent); `owner` int64[n], whose they are; `night`
    int64[n].
    """

    anomaly: Flags
    score: Floats
    combined: Floats
    raw: Floats
    parts: tuple[str, ...]
    owner: Ints
    night: Ints


def order_of(score: Floats, combined: Floats) -> Floats:
    """Places of events in a list as the board has it, float64[n], higher = more anomalous: by score, then `combined`.

    >>> order_of(np.array([0.5, 0.9, 0.9, 0.9]), np.array([8.0, 2.0, 1.0, 2.0])).tolist()
    [0.0, 2.0, 1.0, 2.0]
    """
    order = np.lexsort((combined, score))
    steps = (np.diff(score[order]) != 0) | (np.diff(combined[order]) != 0)
    places = np.empty(len(order))
    places[order] = np.concatenate([[0], np.cumsum(steps)])
    return places


def verdict(judged: Judged, top: int = 100, thresholds: Sequence[float] = (0.99, 0.999)) -> dict[str, Any]:
    """AUC, average precision, precision in the `top` of a night, rates at thresholds; each [value, low, high] at 95 %.

    Events of one owner are drawn together, and so are those of a night for what is of nights. Null = there is none.
    """
    places = order_of(judged.score, judged.combined)
    judge, groups = Judge(judged.anomaly, places), np.unique(judged.owner, return_inverse=True)[1]
    nights = [precision_at(judged, places, night, top) for night in np.unique(judged.night).tolist()]
    shares = bootstrap(np.array([share for share, _ in nights]), np.arange(len(nights)), resamples=RESAMPLES)
    return {
        "events": len(places),
        "anomalies": int(judged.anomaly.sum()),
        "owners": int(groups.max()) + 1,
        "nights": len(nights),
        **_named(("roc_auc", "average_precision"), lambda weights: _areas(judge, weights), groups),
        "top": {
            "size": top,
            "precision": [_plain(one) for one in (shares.mean, shares.low, shares.high)],
            "found": sum(found for _, found in nights),
        },
        "at": [_at(judged, threshold, groups) for threshold in thresholds],
        "parts": {name: _part(judged, column) for name, column in (("score", places), *_columns(judged))},
    }


def precision_at(judged: Judged, places: Floats, night: int, top: int) -> tuple[float, int]:
    """Of the `top` owners of a night, by their highest event: the share with an anomaly that night, and how many.

    A night with fewer owners has a shorter list.
    """
    rows = np.flatnonzero(judged.night == night)
    owners = np.unique(judged.owner[rows])
    listed = owners[ranks(places[rows], judged.owner[rows], owners) <= top]
    found = len(np.intersect1d(listed, judged.owner[rows][judged.anomaly[rows]]))
    return found / min(top, len(owners)), found


def _columns(judged: Judged) -> list[tuple[str, Floats]]:
    return [("combined", judged.combined), *zip(judged.parts, judged.raw.T, strict=True)]


def _part(judged: Judged, column: Floats) -> dict[str, Any]:
    """What one part alone would have reached, on the events of which it spoke."""
    heard = ~np.isnan(column)
    if not heard.any():
        return {"events": 0, "roc_auc": None, "average_precision": None}
    auc, precision = _areas(Judge(judged.anomaly[heard], column[heard]), None)
    return {"events": int(heard.sum()), "roc_auc": _plain(auc), "average_precision": _plain(precision)}


def _at(judged: Judged, threshold: float, groups: Ints) -> dict[str, Any]:
    judge = Judge(judged.anomaly, judged.score)

    def rates(weights: Floats | None) -> Floats:
        found = judge.confusion(threshold, weights)
        return np.array([getattr(found, name) for name in ROWS_AT_A_THRESHOLD])

    alarms = int((judged.score > threshold).sum())
    return {"threshold": threshold, "alarms": alarms, **_named(ROWS_AT_A_THRESHOLD, rates, groups)}


def _areas(judge: Judge, weights: Floats | None) -> Floats:
    curve = judge.curve(weights)
    return np.array([curve.roc_auc, curve.average_precision])


def _named(names: Sequence[str], statistic: Callable[[Floats | None], Floats], groups: Ints) -> dict[str, Any]:
    low, high = measure.bootstrap(statistic, groups, RESAMPLES)
    rows = zip(names, statistic(None), low, high, strict=True)
    return {name: [_plain(float(one)) for one in values] for name, *values in rows}


def _plain(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
