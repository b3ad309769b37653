"""From difference fluxes to band light curves: detections and forced photometry become one curve a band.

Two series measure an object: detections, where a visit showed it above the noise, each at its own centroid, and forced
photometry, at the object's place in every visit, whether it shows or not. The rules:

1. a row counts if it has a flux and an error;
2. rows are sorted by time; where a visit has both, its detection is kept and its forced flux is not, since they are two
   measurements of the same photons; of two alike, the first to arrive.

So without forced photometry a curve is Fink's (fink-science, 2025), but for one thing: Fink takes times of two bands
for duplicates of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .window import HUGE, BandCurves, Flags, Floats, Integers, check_shapes, curves_of

#: Added to the band of a row of forced photometry: to `history` it is a series of its own.
FORCED = 100

# What `history` remembers of a row, 25 bytes.
POINT = np.dtype([("jd", np.float64), ("flux", np.float64), ("sigma", np.float64), ("band", np.int8)])

# In nJy: 1e12 are 1.4 mag, real errors are 10 and more. Far inside of what makes a curve malformed (`HUGE`).
LARGEST_FLUX = 1e12
LEAST_ERROR, LARGEST_ERROR = 1e-6, 1e12


@dataclass(frozen=True, eq=False)
class FluxWindow:
    """n windows of fluxes, flattened: the same as `Window` for surveys that tell fluxes instead of magnitudes.

    Rows offsets[i]:offsets[i+1] belong to alert i, its history first, the current detection last. NaN = null. Errors:
    WindowError if the shapes don't fit.
    """

    offsets: Integers  # [n + 1], from 0 to m, never falling
    jd: Floats  # [m], as all below; days, from whatever zero point
    flux: Floats  # nJy, of the difference image: below 0 if fainter than in the template
    sigma: Floats  # nJy
    band: Integers  # from 1 on, 0 = none; + FORCED for forced photometry

    point: ClassVar[np.dtype[np.void]] = POINT

    def __post_init__(self) -> None:
        check_shapes(self)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def detected(self) -> Flags:
        """bool[m]: the row has a flux and an error."""
        return ~(np.isnan(self.flux) | np.isnan(self.sigma))

    def sound(self) -> Flags:
        """bool[m]: the row can't spoil a curve, so it may be remembered."""
        return (
            (self.jd >= 1)
            & (self.jd < HUGE)
            & (np.abs(self.flux) <= LARGEST_FLUX)
            & (self.sigma >= LEAST_ERROR)
            & (self.sigma <= LARGEST_ERROR)
        )


def flux_curves(window: FluxWindow, bands: Sequence[int]) -> BandCurves:
    """Apply the rules and split by band; the curves' `magnitude` and `sigma` are in nJy.

    >>> window = FluxWindow(
    ...     offsets=np.array([0, 4]),
    ...     jd=np.array([61.0, 61.0, 62.0, 63.0]),
    ...     flux=np.array([90.0, 100.0, 20.0, 300.0]),
    ...     sigma=np.full(4, 10.0),
    ...     band=np.array([2 + FORCED, 2, 2 + FORCED, 2]),
    ... )
    >>> curves = flux_curves(window, (1, 2))
    >>> curves.jd.tolist(), curves.magnitude.tolist(), curves.present
    ([61.0, 62.0, 63.0], [100.0, 20.0, 300.0], array([[False,  True]]))
    """
    alert = np.repeat(np.arange(len(window)), np.diff(window.offsets))
    column = np.full(len(alert), -1)
    for index, band in enumerate(bands):
        column[(window.band == band) | (window.band == band + FORCED)] = index
    wanted = column >= 0
    present = np.zeros((len(window), len(bands)), np.bool_)
    present[alert[wanted], column[wanted]] = True
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(window.band[rows] > FORCED, kind="stable")]  # detections first
    curve = alert[rows] * len(bands) + column[rows]
    return curves_of(curve, window.jd[rows], window.flux[rows], window.sigma[rows], present)
