"""From alert packets to band light curves: which detections count, in which magnitude, in which order.

The rules are Fink's (fink-science, from June 2023 on), so that features agree with those Fink publishes:

1. a row counts if it has a magnitude and an error (the others are upper limits);
2. if any counting row lies on a source of the reference image, the alert is about a variable source, and all its rows
   become apparent ("DC") magnitudes: reference flux ± difference flux; otherwise all keep the difference magnitude;
3. rows are sorted by time, and of those with the same time and band the first to arrive is kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...schemas.errors import SkimError

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

ON_REFERENCE = 1.5  # pixels (of 1.01 arcsec) to the nearest reference source; up to this the alert *is* that source
POGSON = 1.0857  # 2.5 / ln 10, rounded as Fink rounds it: d(magnitude) = 1.0857 d(flux) / flux

# Finite is not enough: the extractor panics where no slope is finite, and 1e300 squared is infinite.
# Distinct times from day 1 on are 2e-16 or more apart. With that, and t, |m|, sigma, 1/sigma < 1e30, the largest values
# on the way are slopes < 1e46, (m - mean)^4 < 2e121, sum(w) sum(w t^2) < 1e180 N^2: far below the limit, 1.8e308.
HUGE = 1e30

# One detection as `history` remembers it, as the packet gave it: apparent magnitudes are made of it anew each time,
# since one row on a reference source converts the whole window. 50 bytes without gaps, which no code would write.
POINT = np.dtype(
    [
        ("jd", np.float64),  # days
        ("magpsf", np.float64),
        ("sigmapsf", np.float64),
        ("distnr", np.float64),  # pixels
        ("magnr", np.float64),
        ("sigmagnr", np.float64),
        ("band", np.int8),  # ZTF fid; 0 = none
        ("positive", np.bool_),
    ]
)

# A sound point makes no band malformed, whether its window is converted or not. Fluxes of the difference are within
# 1e-20 and 1e20, those of the reference at most 1, since a negative magnitude is a null; if one is taken off the other,
# 1e-16 of it is left or more. So errors stay below 1e4 * 1e16 * 2, and above 1e-6 * 1e-20 (faint on bright).
# Real magnitudes are 5 to 25, real errors 0.001 to 1; -999 is written for a missing sigmagnr.
LARGEST_MAGNITUDE = 50.0
LEAST_ERROR, LARGEST_ERROR = 1e-6, 1e4


class WindowError(SkimError):
    """The columns of a window don't fit together: `column` names the one at fault."""

    def __init__(self, column: str, wanted: str) -> None:
        super().__init__(f"light-curve window: {column} must {wanted}; take all columns from one batch")
        self.column = column


@dataclass(frozen=True, eq=False)
class Window:
    """n light-curve windows, flattened.

    Rows offsets[i]:offsets[i+1] belong to alert i, its history first, the current candidate last. NaN = null, as in the
    magnitude of an upper limit. Errors: WindowError if the shapes don't fit.
    """

    offsets: Integers  # [n + 1], from 0 to m, never falling
    jd: Floats  # [m], as all below; days
    magpsf: Floats  # difference magnitude
    sigmapsf: Floats
    distnr: Floats  # pixels to the nearest source in the reference image
    magnr: Floats  # magnitude of that source
    sigmagnr: Floats
    band: Integers  # ZTF fid: 1 = g, 2 = r, 3 = i
    positive: Flags  # isdiffpos is "t" or "1": brighter than in the reference image

    point: ClassVar[np.dtype[np.void]] = POINT

    def __post_init__(self) -> None:
        check_shapes(self)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def detected(self) -> Flags:
        """bool[m]: the row has a magnitude and an error; the others are upper limits."""
        return ~(np.isnan(self.magpsf) | np.isnan(self.sigmapsf))

    def sound(self) -> Flags:
        """bool[m]: detections that can't spoil a curve. Of the reference, only the error can: its nulls are sound."""
        return (
            (self.jd >= 1)
            & (self.jd < HUGE)
            & (np.abs(self.magpsf) <= LARGEST_MAGNITUDE)
            & (self.sigmapsf >= LEAST_ERROR)
            & (self.sigmapsf <= LARGEST_ERROR)
            & ~(np.abs(self.sigmagnr) > LARGEST_ERROR)
        )


def check_shapes(window: Any) -> None:
    """Raises WindowError unless all columns of a window (a data class, `offsets` first) have as many rows as `jd`."""
    rows, bounds = len(window.jd), window.offsets
    for field in fields(window)[1:]:
        if getattr(window, field.name).shape != (rows,):
            raise WindowError(field.name, f"hold {rows} rows, as jd does")
    if bounds.ndim != 1 or not bounds.size or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) < 0).any():
        raise WindowError("offsets", f"rise from 0 to {rows}, the number of rows")


@dataclass(frozen=True, eq=False)
class BandCurves:
    """Light curves of n alerts in B bands, flattened: curve c = i * B + b is alert i in the b-th band.

    Points offsets[c]:offsets[c+1] belong to curve c, in strictly increasing time unless the curve is malformed.
    """

    offsets: Integers  # [n * B + 1]
    jd: Floats  # days
    magnitude: Floats
    sigma: Floats
    present: Flags  # [n, B]: the window has a row of this band, upper limits count
    malformed: Flags  # [n, B]: a point is infinite or huge, its error not positive, or its time not a date


def band_curves(window: Window, bands: Sequence[int] = (1, 2)) -> BandCurves:
    """Apply the window rules and split by band. Rows of other bands only take part in the choice of magnitude.

    Each alert's curves depend on that alert's rows alone, whatever else is in the batch.
    """
    shape = len(window), len(bands)
    alert = np.repeat(np.arange(len(window)), np.diff(window.offsets))
    column = np.full(len(alert), -1)
    for index, band in enumerate(bands):
        column[window.band == band] = index
    wanted = column >= 0
    present = np.zeros(shape, np.bool_)
    present[alert[wanted], column[wanted]] = True

    detected = window.detected()
    on_reference = np.zeros(len(window), np.bool_)
    on_reference[alert[detected & (window.distnr >= 0) & (window.distnr <= ON_REFERENCE)]] = True

    rows = np.flatnonzero(detected & wanted)
    magnitude, sigma = _magnitudes(window, rows, on_reference[alert[rows]])
    return curves_of(alert[rows] * len(bands) + column[rows], window.jd[rows], magnitude, sigma, present)


def curves_of(curve: Integers, jd: Floats, magnitude: Floats, sigma: Floats, present: Flags) -> BandCurves:
    """Points, the more trusted ones of equal times first, as sorted curves without duplicates; a NaN doesn't count."""
    kept = _kept_in_order(curve, jd, ~(np.isnan(magnitude) | np.isnan(sigma)))
    curve, jd, magnitude, sigma = curve[kept], jd[kept], magnitude[kept], sigma[kept]
    offsets = np.zeros(present.size + 1, np.int64)
    np.cumsum(np.bincount(curve, minlength=present.size), out=offsets[1:])
    sound = (jd >= 1) & (jd < HUGE) & (np.abs(magnitude) < HUGE) & (sigma > 1 / HUGE) & (sigma < HUGE)
    malformed = np.zeros(present.size, np.bool_)
    malformed[curve[~sound]] = True
    return BandCurves(offsets, jd, magnitude, sigma, present, malformed.reshape(present.shape))


def _magnitudes(window: Window, rows: Integers, apparent: Flags) -> tuple[Floats, Floats]:
    """Magnitude and error of `rows`: apparent where flagged, else of the difference. NaN = the row doesn't count."""
    magnitude, sigma = window.magpsf[rows], window.sigmapsf[rows]
    source = rows[apparent]
    magnitude[apparent], sigma[apparent] = apparent_magnitude(
        magnitude[apparent], sigma[apparent], window.magnr[source], window.sigmagnr[source], window.positive[source]
    )
    return magnitude, sigma


def _kept_in_order(curve: Integers, jd: Floats, valid: Flags) -> Integers:
    """Indices of the valid rows by curve and time; of equal times in a curve, the first to arrive."""
    rows = np.flatnonzero(valid)
    rows = rows[np.lexsort((jd[rows], curve[rows]))]  # a stable sort
    repeated = np.zeros(len(rows), np.bool_)
    repeated[1:] = (curve[rows[1:]] == curve[rows[:-1]]) & (jd[rows[1:]] == jd[rows[:-1]])
    return rows[~repeated]


# A scalar kernel, because numpy's vectorised pow and log10 differ from the C library's in the last bit on some
# processors, and the un-centred sums behind linear_fit_slope turn one bit into 1e-8: machines would disagree.
@njit(cache=True, nogil=True)
def apparent_magnitude(
    magpsf: Floats, sigmapsf: Floats, magnr: Floats, sigmagnr: Floats, positive: Flags
) -> tuple[Floats, Floats]:
    """Magnitude of a variable source, and its error: its flux in the reference image plus or minus the difference flux.

    All arrays of one length. NaN where the reference magnitude is null or negative, or where no flux is left.

    >>> one = np.ones(2)
    >>> magnitude, sigma = apparent_magnitude(19 * one, 0.1 * one, 19 * one, 0.02 * one, np.array([True, False]))
    >>> magnitude.round(3), sigma.round(3)  # twice the flux; nothing left
    (array([18.247,    nan]), array([0.051,   nan]))
    """
    magnitude, sigma = np.full(len(magpsf), np.nan), np.full(len(magpsf), np.nan)
    for i in range(len(magpsf)):
        if magnr[i] >= 0.0:
            difference, reference = 10.0 ** (-0.4 * magpsf[i]), 10.0 ** (-0.4 * magnr[i])
            difference_noise, reference_noise = sigmapsf[i] / POGSON * difference, sigmagnr[i] / POGSON * reference
            flux = reference + difference if positive[i] else reference - difference
            if flux > 0.0:
                noise = math.sqrt(difference_noise * difference_noise + reference_noise * reference_noise)
                magnitude[i], sigma[i] = -2.5 * math.log10(flux), POGSON * (noise / flux)
    return magnitude, sigma
