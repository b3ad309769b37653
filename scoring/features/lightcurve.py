"""The 26 light-curve features of each band, as Fink's anomaly module computes them.

The features are those of the `light-curve` package (Malanchev et al. 2021, MNRAS 502, 5147); Fink chose the 26.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import light_curve
import numpy as np

from ...schemas.errors import SkimError
from .window import BandCurves, Flags, Floats, Integers, Window, band_curves

FEATURES: tuple[str, ...] = (
    "mean",
    "weighted_mean",
    "standard_deviation",
    "median",
    "amplitude",
    "beyond_1_std",
    "cusum",
    "inter_percentile_range_10",
    "kurtosis",
    "linear_trend",
    "linear_trend_sigma",
    "linear_trend_noise",
    "linear_fit_slope",
    "linear_fit_slope_sigma",
    "linear_fit_reduced_chi2",
    "magnitude_percentage_ratio_40_5",
    "magnitude_percentage_ratio_20_10",
    "maximum_slope",
    "median_absolute_deviation",
    "median_buffer_range_percentage_10",
    "percent_amplitude",
    "mean_variance",
    "anderson_darling_normal",
    "chi2",
    "skew",
    "stetson_K",
)

_EXTRACTOR = light_curve.Extractor(
    light_curve.Mean(),
    light_curve.WeightedMean(),
    light_curve.StandardDeviation(),
    light_curve.Median(),
    light_curve.Amplitude(),
    light_curve.BeyondNStd(1.0),
    light_curve.Cusum(),
    light_curve.InterPercentileRange(0.1),
    light_curve.Kurtosis(),
    light_curve.LinearTrend(),  # and its sigma and noise
    light_curve.LinearFit(),  # slope, its sigma, and reduced chi2
    light_curve.MagnitudePercentageRatio(0.4, 0.05),
    light_curve.MagnitudePercentageRatio(0.2, 0.1),
    light_curve.MaximumSlope(),
    light_curve.MedianAbsoluteDeviation(),
    light_curve.MedianBufferRangePercentage(0.1),
    light_curve.PercentAmplitude(),
    light_curve.MeanVariance(),
    light_curve.AndersonDarlingNormal(),
    light_curve.ReducedChi2(),
    light_curve.Skew(),
    light_curve.StetsonK(),
)
if tuple(_EXTRACTOR.names) != FEATURES:  # models know their inputs by these names
    raise SkimError(f"light-curve {light_curve.__version__} names its features otherwise: install a 0.13 release")

_MODEL_INPUTS = [index for index, name in enumerate(FEATURES) if name != "mean_variance"]


@dataclass(frozen=True, eq=False)
class LightCurveFeatures:
    """Features of n alerts in B bands, and why some are null.

    All 26 of a band are null if it has no detection (it may still be present, by its upper limits) or is malformed.
    """

    values: Floats  # [n, B, 26], in the order of FEATURES; NaN = null, never infinite
    detections: Integers  # [n, B]: points of the light curve, each time counted once
    present: Flags  # [n, B]: the window has a row of this band, upper limits count
    malformed: Flags  # [n, B]: a point is infinite or huge, its error not positive, or its time not a date


def lightcurve_features(window: Window, bands: Sequence[int] = (1, 2)) -> LightCurveFeatures:
    """The 26 features of every alert in every band, each from that alert's own rows alone, to the last bit.

    What can't be defined is null (NaN): one point gives 8 features, two 17, three 24, four or more all 26; and cusum,
    kurtosis, the two ratios, anderson_darling_normal, skew and stetson_K need points that differ. Hostile numbers
    never raise: they make their band malformed.

    >>> window = Window(
    ...     offsets=np.array([0, 3]),
    ...     jd=np.array([2461366.7, 2461367.7, 2461369.7]),
    ...     magpsf=np.array([18.0, np.nan, 19.0]),
    ...     sigmapsf=np.array([0.1, np.nan, 0.1]),
    ...     distnr=np.full(3, 9.0),
    ...     magnr=np.full(3, 17.0),
    ...     sigmagnr=np.full(3, 0.1),
    ...     band=np.array([1, 2, 1]),
    ...     positive=np.ones(3, bool),
    ... )
    >>> features = lightcurve_features(window)
    >>> float(features.values[0, 0, FEATURES.index("mean")])
    18.5
    >>> features.detections, features.present, usable(features)
    (array([[2, 0]]), array([[ True,  True]]), array([[False, False]]))
    """
    return curve_features(band_curves(window, bands))


def curve_features(curves: BandCurves) -> LightCurveFeatures:
    """The 26 features of light curves that are already converted, sorted and split by band."""
    shape = curves.present.shape
    detections = np.diff(curves.offsets)
    values = np.full((len(detections), len(FEATURES)), np.nan)
    chosen = np.flatnonzero((detections > 0) & ~curves.malformed.ravel())
    starts, stops = curves.offsets[chosen].tolist(), curves.offsets[chosen + 1].tolist()
    # One call a curve, not one `many`: it tracks every view it is lent of a shared array, so its cost grows with the
    # square of the batch (forty times this loop's at 16,000 curves), and it starts a thread.
    for curve, start, stop in zip(chosen.tolist(), starts, stops, strict=True):
        values[curve] = _EXTRACTOR(
            curves.jd[start:stop],
            curves.magnitude[start:stop],
            curves.sigma[start:stop],
            fill_value=np.nan,
            sorted=True,
            check=False,  # what isn't finite is malformed, and not here
        )
    values[np.isinf(values)] = np.nan  # s/mu about a mean of zero, or another overflow
    return LightCurveFeatures(
        values.reshape(*shape, len(FEATURES)), detections.reshape(shape), curves.present, curves.malformed
    )


def usable(features: LightCurveFeatures) -> Flags:
    """bool[n, B]: the bands that can be scored, with none of the 25 features that Fink's current models use null.

    The 26th is mean_variance. In practice: four detections or more, not all equal, and no percentile range of zero.
    """
    complete: Flags = np.count_nonzero(np.isnan(features.values[..., _MODEL_INPUTS]), axis=-1) == 0
    return complete
