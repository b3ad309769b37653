"""The light curve of a ZTF packet, for people who look at it: detections and upper limits, as the packet has them."""

import numpy as np

from ...schemas.columns import Columns
from .base import Floats, LightCurve

BANDS = {1: "g", 2: "r", 3: "i"}  # ZTF's fid
# 30 days of one field have some 30 rows; what has far more is cut to the latest, 8 kB of JSON.
MOST_POINTS = 150
# A ten-thousandth of a magnitude, 0.1 s: a hundredth of the smallest error, and a third of the text.
MAGNITUDE_DIGITS, DAY_DIGITS = 4, 6


def light_curve(columns: Columns, row: int) -> LightCurve:
    """jd, band, mag, sigma, limit, positive of one packet: lists of equal length, in order of time.

    mag, sigma: PSF magnitude of the difference image and its error; None for an upper limit, which then stands in
    `limit` (5 sigma; None where the packet doesn't tell). positive: whether the source is brighter than its reference.
    Rows without a time or with a band that ZTF hasn't are left out.
    """
    offsets, history = columns.table("prv_candidates")
    past = history.take(np.arange(offsets[row], offsets[row + 1]))

    def joined(name: str) -> Floats:
        return np.append(past.number(name), columns.number(f"candidate.{name}")[row])

    jd, fid, mag, sigma, limit = map(joined, ("jd", "fid", "magpsf", "sigmapsf", "diffmaglim"))
    now = columns.take(np.array([row])).text("candidate.isdiffpos").equals("t", "1")
    positive = np.append(past.text("isdiffpos").equals("t", "1"), now)
    sound = np.flatnonzero(np.isfinite(jd) & np.isin(fid, tuple(BANDS)))
    order = sound[np.argsort(jd[sound], kind="stable")][-MOST_POINTS:]
    seen = np.isfinite(mag) & np.isfinite(sigma)
    return {
        "jd": _numbers(jd[order], DAY_DIGITS),
        "band": [BANDS[int(one)] for one in fid[order]],
        "mag": _numbers(np.where(seen, mag, np.nan)[order], MAGNITUDE_DIGITS),
        "sigma": _numbers(np.where(seen, sigma, np.nan)[order], MAGNITUDE_DIGITS),
        "limit": _numbers(np.where(seen, np.nan, limit)[order], MAGNITUDE_DIGITS),
        "positive": [bool(up) if there else None for up, there in zip(positive[order], seen[order], strict=True)],
    }


def _numbers(values: Floats, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.tolist()]
