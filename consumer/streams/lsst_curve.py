"""The light curve of an LSST packet, for people who look at it: detections and forced photometry."""

import numpy as np

from ...schemas.columns import Columns
from ...scoring.features.flux import FORCED
from .base import LightCurve
from .lsst_fields import BANDS, window

MJD_IN_JD = 2_400_000.5
# A year of one field may have some hundred rows; what has more is cut to the latest, 10 kB of JSON.
MOST_POINTS = 200
# 0.01 nJy, a thousandth of the smallest error, and 0.1 s.
FLUX_DIGITS, DAY_DIGITS = 2, 6


def light_curve(columns: Columns, row: int) -> LightCurve:
    """jd, band, flux, sigma, forced of one packet: lists of equal length, in order of time.

    flux, sigma: of the difference image, nJy. forced: False for a detection, True for forced photometry. Rows without
    a time, a flux, an error or one of the six bands are left out.
    """
    rows = window(columns.take(np.array([row])))
    number = rows.band % FORCED
    known = rows.detected() & np.isfinite(rows.jd) & np.isfinite(rows.flux) & np.isfinite(rows.sigma)
    sound = np.flatnonzero(known & (number > 0))
    order = sound[np.argsort(rows.jd[sound], kind="stable")][-MOST_POINTS:]
    return {
        "jd": [round(time, DAY_DIGITS) for time in (rows.jd[order] + MJD_IN_JD).tolist()],
        "band": [BANDS[one - 1] for one in number[order].tolist()],
        "flux": [round(value, FLUX_DIGITS) for value in rows.flux[order].tolist()],
        "sigma": [round(value, FLUX_DIGITS) for value in rows.sigma[order].tolist()],
        "forced": (rows.band[order] > FORCED).tolist(),
    }
