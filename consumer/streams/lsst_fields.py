"""What the stream `lsst` reads from an alert: the survey's fields by their newest names, with all the older ones.

Schemas 3.0 to 11.1 and ELAsTiCC's 0.9 differ in the names alone: which one a writer has is decided once a schema.
"""

import numpy as np

from ...schemas.columns import Columns, Ints, Text, Wanted
from ...scoring.features.flux import FORCED, FluxWindow
from ...scoring.features.lightcurve import FEATURES
from .base import Floats

BANDS = ("u", "g", "r", "i", "z", "y")  # a window's band is the place in here, from 1 on
NUMBERS = tuple(range(1, len(BANDS) + 1))

# From 5.0 on | up to 4.0, and ELAsTiCC.
OLD_NAMES = {
    "midpointMjdTai": "midPointTai",
    "psfFlux": "psFlux",
    "psfFluxErr": "psFluxErr",
    "dec": "decl",
    "band": "filterName",
    "reliability": "spuriousness",
}
# The diaObject's own statistics of its detections, a band. Chi2 is there up to 7.4, Min and Max from 8.0 on.
STATISTICS = ("Mean", "Sigma", "Ndata", "Chi2", "Min", "Max")


def statistic(band: str, name: str) -> str:
    """The path of one of the diaObject's statistics.

    >>> statistic("r", "Mean")
    'diaObject.r_psfFluxMean'
    """
    return f"diaObject.{band}_psfFlux{name}"


def _aliases(*names: str, within: str = "") -> dict[str, tuple[str, ...]]:
    return {within + name: (within + OLD_NAMES[name],) for name in names if name in OLD_NAMES}


_POINT = ("midpointMjdTai", "psfFlux", "psfFluxErr")
_SOURCE = (*_POINT, "ra", "dec", "reliability", "snr")
_IDS = ("diaSourceId", "diaObjectId", "ssObjectId")
_HISTORY = Wanted(numbers=_POINT, texts=("band",), aliases=_aliases(*_POINT, "band"))
_STATISTICS = tuple((band, name) for band in BANDS for name in STATISTICS)

WANTED = Wanted(
    numbers=(
        *(f"diaSource.{name}" for name in _SOURCE),
        *(statistic(band, name) for band, name in _STATISTICS),
    ),
    integers=tuple(f"diaSource.{name}" for name in _IDS),
    texts=("diaSource.band",),
    tables={"prvDiaSources": _HISTORY, "prvDiaForcedSources": _HISTORY},
    aliases={
        **_aliases(*_SOURCE, "band", within="diaSource."),
        **{statistic(band, name): (f"diaObject.{band}PSFlux{name}",) for band, name in _STATISTICS},
    },
)


def band_number(text: Text) -> Ints:
    """int64[n]: 1 to 6, 0 = none of the six. ELAsTiCC writes y as Y."""
    number = np.zeros(len(text.start), np.int64)
    for place, band in zip(NUMBERS, BANDS, strict=True):
        number[text.equals(*{band, band.upper() if band == "y" else band})] = place
    return number


def window(columns: Columns, forced: bool = True) -> FluxWindow:
    """The windows of alerts: each packet's earlier sources, its forced photometry, then the current source."""
    offsets, history = columns.table("prvDiaSources")
    forced_offsets, photometry = columns.table("prvDiaForcedSources")
    if not forced:
        forced_offsets, photometry = np.zeros_like(forced_offsets), photometry.take(np.zeros(0, np.int64))
    # Blocks of rows, one after another; a stable sort by alert then has each alert's in their order.
    parts = (history, photometry, columns)
    everyone = np.arange(len(columns))
    alert = np.concatenate(
        [np.repeat(everyone, np.diff(offsets)), np.repeat(everyone, np.diff(forced_offsets)), everyone]
    )
    order = np.argsort(alert, kind="stable")

    def merged(name: str) -> Floats:
        return np.concatenate([part.number(_path(part, columns, name)) for part in parts])[order]

    band = np.concatenate([band_number(part.text(_path(part, columns, "band"))) for part in parts])
    is_forced = slice(len(history), len(history) + len(photometry))
    band[is_forced] += np.where(band[is_forced] > 0, FORCED, 0)
    return FluxWindow(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(alert, minlength=len(columns)))]).astype(np.int64),
        jd=merged("midpointMjdTai"),
        flux=merged("psfFlux"),
        sigma=merged("psfFluxErr"),
        band=band[order],
    )


def _path(part: Columns, columns: Columns, name: str) -> str:
    return f"diaSource.{name}" if part is columns else name


def object_features(columns: Columns, fewest: int) -> Floats:
    """float64[n, 6, 26]: the features that the diaObject's statistics give, of bands with `fewest` points or more.

    Mean is weighted by the inverse variance, Sigma is the sample's, Chi2 the sum about that mean: so they are
    weighted_mean, standard_deviation and (divided by N - 1) chi2. Min and Max give the amplitude. MaxSlope has a sign,
    maximum_slope hasn't, so it is left out. All others are NaN, and so is everything of a lesser band.
    """
    found = np.full((len(columns), len(BANDS), len(FEATURES)), np.nan)
    for place, band in enumerate(BANDS):
        mean, sigma, count, chi2, least, most = (columns.number(statistic(band, name)) for name in STATISTICS)
        many = count >= max(fewest, 2)
        with np.errstate(over="ignore", invalid="ignore"):  # hostile numbers: what isn't finite is missing
            values = {
                "weighted_mean": mean,
                "standard_deviation": sigma,
                "amplitude": (most - least) / 2,
                "chi2": chi2 / np.where(many, count - 1, 1.0),
            }
        for name, value in values.items():
            found[:, place, FEATURES.index(name)] = np.where(many & np.isfinite(value), value, np.nan)
    return found
