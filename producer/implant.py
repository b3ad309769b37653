"""Puts a shape's flux into a real object's cadence, and makes the alerts that the survey would have sent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hosts import MAG_ERROR, ErrorRelation, Host, Row
from .shapes import Array, Rng, Shape
from .simulate.cadence import HISTORY_DAYS
from .simulate.event import Simulated
from .simulate.packet import UNIX_EPOCH, UPPER_LIMIT

# Of an artefact's detection: real/bogus scores as low as those that ZTF gives to residuals and cosmic rays; some 9 %
# of them reach 0.55 all the same. Half of them stand on bad pixels.
BOGUS_RB, BOGUS_DRB, BAD_PIXELS = (2.0, 4.0, 0.9), (1.0, 4.0, 1.0), 0.5
FAINTEST_FLUX = 1e-12  # mag 50
PUBLISHER = "Skimstream"


@dataclass(frozen=True)
class Implanted:
    """One injected object.

    alerts: what the survey would send, one a detection, oldest first; `points` detections are in the packet of each.
    tonight: how many of the last ones belong to the host's own night (noon to noon UTC). host: whose cadence it is.
    """

    host: str
    alerts: tuple[Simulated, ...]
    points: tuple[int, ...]
    tonight: int


def alert_of(host: Host, days: float = 0.0) -> Simulated:
    """The host's own alert, moved in time by whole days, in the schema `ztf_like`."""
    return _alert(host.name, list(host.rows), host.candidate["candid"], days, None)


def implant(
    rng: Rng, host: Host, shape: Shape, relation: ErrorRelation, name: str, candid: int, kind: str, days: float = 0.0
) -> Implanted:
    """A new object with this host's cadence, limits, errors and real/bogus scores, and this shape's flux added.

    Flux is added to what was measured, with the noise that the larger flux brings by the error relation, scaled to
    the row's own error. What was an upper limit starts from 0 and gets the noise of its limit. A changed row is a
    detection where it is as bright as its limit, else an upper limit; rows to which nothing is added stay as they
    are, to the last bit. name, candid: the new object's id, and the first of its detections' (they count up);
    nothing in a record tells it from others. kind: its `truth`. days: moves all in time, by whole days.
    """
    added = shape.draw(rng)(host.jd - host.jd[-1], host.fid, host.star)
    rows, detected = _observed(rng, host, added, relation)
    if shape.bogus and detected[-1]:
        rows[-1] |= _bogus(rng)
    found = np.flatnonzero(detected).tolist()
    if shape.bogus:
        found = [i for i in found if i == len(rows) - 1]
    alerts, points = [], []
    for i in found:
        first = host.jd[i] - HISTORY_DAYS
        last = i == len(rows) - 1
        kept = [j for j in range(len(rows) - 1) if last or (j != i and first <= host.jd[j] < host.jd[i])]
        history = [rows[j] for j in kept]
        alerts.append(_alert(name, [*history, _as_candidate(rows[i], host, history)], candid + i, days, kind))
        points.append(1 + int(detected[kept].sum()))
    night = np.floor(host.jd[found]) == np.floor(host.jd[-1])
    return Implanted(host.name, tuple(alerts), tuple(points), int(night.sum()))


def _observed(rng: Rng, host: Host, added: Array, relation: ErrorRelation) -> tuple[list[Row], NDArray[np.bool_]]:
    """The rows as measured with the flux added, and which of them are detections."""
    before, error = host.difference
    noise = rng.standard_normal(len(added))
    scores = [row for row, found in zip(host.rows, host.detected, strict=True) if found and row["rb"] is not None]
    chosen = rng.integers(0, max(1, len(scores)), len(added)).tolist()
    expected = relation.error(before + added, host.limit)
    larger = np.where(host.detected, error * expected / relation.error(before, host.limit), expected)
    fresh = np.where(host.detected, np.sqrt(np.clip(larger**2 - error**2, 0, None)), larger)
    after = before + added + noise * fresh
    size = np.maximum(np.abs(after), FAINTEST_FLUX)
    magnitude = (20 - 2.5 * np.log10(size)).astype(np.float32).astype(np.float64)
    sigma = (MAG_ERROR * larger / size).astype(np.float32).astype(np.float64)
    changed = added > 0
    detected = np.where(changed, magnitude <= host.limit, host.detected)
    rows = []
    for i, row in enumerate(host.rows):
        if not changed[i]:
            rows.append(dict(row))
        elif not detected[i]:
            rows.append(row | {key: None for key in UPPER_LIMIT if key in row})
        else:
            new = dict(row) if host.detected[i] else row | _place(host, row["fid"], scores, chosen[i])
            measured = {"magpsf": float(magnitude[i]), "sigmapsf": float(sigma[i]), "magap": None, "sigmagap": None}
            rows.append(new | measured | {"isdiffpos": "t" if after[i] > 0 else "f"})
    return rows, detected


def _place(host: Host, fid: int, scores: list[Row], chosen: int) -> Row:
    """What a detection says beside its brightness, where the host has none: as the host's detections have it."""
    candidate = host.candidate
    magnitude, error = host.reference.get(fid, (None, None))
    return {
        **{key: candidate[key] for key in ("candid", "ra", "dec", "distnr", "fwhm", "ssdistnr", "ssmagnr")},
        "magnr": magnitude,
        "sigmagnr": error,
        "nbad": 0,
        "rb": scores[chosen]["rb"] if scores else None,
    }


def _bogus(rng: Rng) -> Row:
    rb, drb = (float(np.float32(scale * rng.beta(a, b))) for a, b, scale in (BOGUS_RB, BOGUS_DRB))
    return {"rb": rb, "drb": drb, "nbad": int(rng.integers(1, 6)) if rng.random() < BAD_PIXELS else 0}


def _as_candidate(row: Row, host: Host, history: list[Row]) -> Row:
    """A detection as the one that causes an alert: with the fields that only candidates have."""
    if "drb" in row:
        return row
    jds = [one["jd"] for one in history if one["magpsf"] is not None]
    own = {"jdstarthist": min(jds, default=row["jd"]), "jdendhist": row["jd"], "ndethist": len(jds) + 1}
    return host.candidate | row | own | {"ncovhist": len(history) + 1}


def _alert(name: str, rows: list[Row], candid: int, days: float, kind: str | None) -> Simulated:
    *history, candidate = ([_moved(row, days) for row in rows]) if days else rows
    record = {
        "schemavsn": "1",
        "publisher": PUBLISHER,
        "objectId": name,
        "candid": candid,
        "candidate": candidate | {"candid": candid},
        "prv_candidates": history or None,
        "cutoutScience": None,
        "cutoutTemplate": None,
        "cutoutDifference": None,
    }
    return Simulated(record, name, str(candid), (candidate["jd"] - UNIX_EPOCH) * 86400, kind)


def _moved(row: Row, days: float) -> Row:
    """The row at another time. Whole days change no difference between Julian dates of our time, to the last bit."""
    times = {key: row[key] + days for key in ("jd", "jdstarthist", "jdendhist") if row.get(key) is not None}
    return row | times
