"""One simulated object as the survey measures it, and the alert packets that come of it."""

from typing import Any

import numpy as np

from ..shapes import Array, Rng, flux
from .cadence import GREEN, HISTORY_DAYS, RED, Field
from .event import Simulated
from .population import Source

THRESHOLD = 5.0  # sigma, of a detection and of a limit
MAG_ERROR = 1.0857  # 2.5 / ln 10: the magnitude error of a relative flux error of 1
CALIBRATION = 0.035  # relative error of bright detections; real ones have 0.03 to 0.06
PIXEL = 1.01 / 3600  # deg
FIELD_RADIUS = 3.4  # deg
UNIX_EPOCH = 2440587.5  # Julian date of 1970-01-01
COVERED = 0.95  # of earlier visits; the others fall into the gaps between chips
DUPLICATED = 0.04  # share of objects with one detection twice in their history, as real windows have it
REAL = 0.55  # real/bogus score from which broker science begins

MEASURED = (
    *("magpsf", "sigmapsf", "magap", "sigmagap", "distnr", "magnr", "sigmagnr"),
    *("fwhm", "rb", "ssdistnr", "ssmagnr", "drb"),
)
IN_HISTORY = MEASURED[:-1]  # history rows have no drb
UPPER_LIMIT = dict.fromkeys(("candid", "isdiffpos", "ra", "dec", "nbad", *IN_HISTORY))


class Observed:
    """What a field's visits measure of one source.

    detected: bool array, the visits that find it; those of tonight become alerts, `alerts` of them. All alerts of an
    object take their history from the same arrays, so a detection has the same numbers wherever it appears.
    index: the object's place in its field, which makes its candids unique.
    """

    def __init__(self, rng: Rng, field: Field, source: Source, name: str, index: int, truth: str | None) -> None:
        self.field, self.source, self.name, self.index, self.truth = field, source, name, index, truth
        visits = field.jd.size
        sky = flux(field.limit) / THRESHOLD
        reference = flux(np.where(field.fid == GREEN, *source.reference))
        noise = np.sqrt(sky**2 + (CALIBRATION * source.difference) ** 2 + (source.residual * reference) ** 2)
        difference = source.difference + noise * rng.standard_normal(visits)
        self.covered = rng.random(visits) < COVERED
        self.covered[field.first_tonight :] = True
        self.detected = self.covered & (np.abs(difference) > THRESHOLD * noise)
        self.alerts = int(np.count_nonzero(self.detected[field.first_tonight :]))
        if self.alerts:
            self._positive = difference > 0
            self._measure(rng, np.abs(difference), noise)

    def _measure(self, rng: Rng, size: Array, noise: Array) -> None:
        """Draws the other numbers; in float32 where the schema says float, so that encoding changes nothing."""
        field, source, visits = self.field, self.source, self.field.jd.size
        size = np.where(self.detected, size, 1.0)
        magnitude, error = 20 - 2.5 * np.log10(size), MAG_ERROR * noise / size
        reference = np.where(field.fid == GREEN, *source.reference)
        columns = {
            "magpsf": magnitude,
            "sigmapsf": error,
            "magap": magnitude + rng.normal(0.02, 0.05, visits),
            "sigmagap": 1.2 * error,
            "distnr": np.abs(source.distance + 0.1 * rng.standard_normal(visits)),
            "magnr": reference,
            "sigmagnr": 0.01 + 0.3 * np.exp(reference - 22.5).clip(0, 1),
            "fwhm": field.fwhm,
            "rb": 0.4 + 0.58 * rng.beta(5, 2, visits) if source.real else 0.9 * rng.beta(2, 4, visits),
            "ssdistnr": np.abs(rng.normal(0, 0.6, visits)) if source.moving else np.full(visits, -999.0),
            "ssmagnr": np.full(visits, source.predicted),
            "drb": rng.beta(20, 0.4, visits) if source.real else rng.beta(1, 4, visits),
        }
        self._floats = np.array([columns[name] for name in MEASURED], dtype=np.float32).T
        angle, radius = rng.uniform(0, 2 * np.pi), FIELD_RADIUS * np.sqrt(rng.random())
        dec = field.dec + radius * np.sin(angle)
        place = np.array([field.ra + radius * np.cos(angle) / np.cos(np.radians(dec)), dec])
        jitter = 0.1 * PIXEL * rng.standard_normal((visits, 2)) / [np.cos(np.radians(dec)), 1]
        self._places = np.round(place + jitter, 7)
        self._places[:, 0] %= 360
        self._bad = (rng.random(visits) < 0.02).astype(int)
        self._quadrant = int(rng.integers(0, 64))
        self._starness = float(np.float32(source.starness))
        self._before = (int(rng.integers(5, 400)), int(rng.integers(400, 2000)), float(rng.uniform(100, 2500)))
        past = np.flatnonzero(self.detected[: field.first_tonight])
        self._twice = int(rng.choice(past)) if past.size and rng.random() < DUPLICATED else -1

    def scorable(self, points: int) -> bool:
        """Whether every alert of it has rb >= 0.55, and at least `points` detections in one band."""
        tonight = np.arange(self.field.jd.size) >= self.field.first_tonight
        found = np.flatnonzero(tonight & self.detected)
        within = self.detected & (self.field.jd >= self.field.jd[found[0]] - HISTORY_DAYS)
        bands = self.field.fid[: found[0] + 1][within[: found[0] + 1]]
        most = max(np.count_nonzero(bands == fid) for fid in (GREEN, RED))
        return bool(most >= points and np.all(self._floats[found, MEASURED.index("rb")] >= REAL))

    def alert(self, visit: int) -> Simulated:
        """The alert that the detection at `visit` causes."""
        *history, found = self._rows(visit)
        jd = found["jd"]
        history = [row for row in history if row["jd"] >= jd - HISTORY_DAYS]
        detections = [row["jd"] for row in history if row["candid"] is not None]
        seen, covered, days = self._before if self.source.old else (0, self._before[1], 0.0)
        candidate = found | {
            "sgscore1": self._starness,
            "distpsnr1": found["distnr"],
            "ndethist": seen + len(detections) + 1,
            "ncovhist": covered + len(history) + 1,
            "jdstarthist": self.field.jd[0] - days if self.source.old else min(detections, default=jd),
            "jdendhist": jd,
            "drb": float(self._floats[visit, -1]),
        }
        record = {
            "schemavsn": "1",
            "publisher": "Skimstream simulator",
            "objectId": self.name,
            "candid": found["candid"],
            "candidate": candidate,
            "prv_candidates": history or None,
            "cutoutScience": None,
            "cutoutTemplate": None,
            "cutoutDifference": None,
        }
        return Simulated(record, self.name, str(found["candid"]), (jd - UNIX_EPOCH) * 86400, self.truth)

    def _rows(self, last: int) -> list[dict[str, Any]]:
        """Detections and upper limits up to the visit `last`, oldest first."""
        rows = []
        exposures = self.field.exposures[: last + 1]
        floats, places = self._floats[: last + 1, :-1].tolist(), self._places[: last + 1].tolist()
        for visit in np.flatnonzero(self.covered[: last + 1]).tolist():
            exposure = exposures[visit]
            pid = exposure["pid"] + self._quadrant * 100
            row = exposure | {"pid": pid, "rcid": self._quadrant}
            if not self.detected[visit]:
                rows.append(row | UPPER_LIMIT)
                continue
            row["candid"] = pid * 1_000_000 + self.field.number % 100 * 10_000 + self.index
            row["isdiffpos"] = "t" if self._positive[visit] else "f"
            row["ra"], row["dec"] = places[visit]
            row["nbad"] = int(self._bad[visit])
            row.update(zip(IN_HISTORY, floats[visit], strict=True))
            rows.append(row)
            if visit == self._twice:
                rows.append(row | {"candid": row["candid"] + 5_000, "magpsf": row["magap"]})
        return rows
