"""Fink's isolation forests for ZTF: what feeds them, and in which order they were trained to be fed.

Fink scores band g (fid 1) with the forest that it calls r, and band r with the one called g; so does its training.
Its forests of 25 inputs were trained on the features sorted by name, but are fed the 18 of the forests before them and
the 7 new ones behind, so that 19 inputs get another feature's value. Nothing in the files says so: the thresholds do.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from .band_forests import Band, BandForests, Regime
from .calibrate import Ranker
from .combine import Combiner
from .errors import ModelError
from .forest import Forest
from .model import Model
from .threshold import Thresholds

LIBRARIES = ("skimstream", "numpy", "onnx", "light-curve")
FEATURES_18: tuple[str, ...] = (
    "amplitude",
    "anderson_darling_normal",
    "beyond_1_std",
    "chi2",
    "cusum",
    "kurtosis",
    "linear_fit_slope",
    "linear_fit_slope_sigma",
    "linear_trend_noise",
    "linear_trend_sigma",
    "magnitude_percentage_ratio_20_10",
    "magnitude_percentage_ratio_40_5",
    "maximum_slope",
    "median",
    "median_absolute_deviation",
    "median_buffer_range_percentage_10",
    "skew",
    "stetson_K",
)
FEATURES_25: tuple[str, ...] = (
    *FEATURES_18,
    "percent_amplitude",
    "linear_fit_reduced_chi2",
    "inter_percentile_range_10",
    "linear_trend",
    "standard_deviation",
    "weighted_mean",
    "mean",
)
#: The order in which Fink feeds its forests, by their number of inputs.
FED = {18: FEATURES_18, 25: FEATURES_25}
#: ZTF's band → the forest that scores it, by the name in its file.
FOREST_OF_BAND = {"g": "r", "r": "g"}

# Thresholds are drawn between a feature's extremes, and these features are magnitudes: 9 is brighter than ZTF's
# saturation, 30 fainter than any detection. Of every other feature 5 % of the thresholds lie below 1, in all forests of
# fink-science 7.4.0.
MAGNITUDES = {"mean", "median", "weighted_mean"}
BRIGHTEST, FAINTEST = 9.0, 30.0
# A few stray thresholds prove nothing.
OUTER_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Order:
    """The features that a forest was trained on, in order (None: its thresholds fit no known order), and why."""

    trained: tuple[str, ...] | None
    fed: tuple[str, ...]
    magnitudes: tuple[int, ...]  # inputs, from 0, that split like magnitudes

    @property
    def misfed(self) -> int:
        """How many inputs Fink feeds another feature's value."""
        return 0 if self.trained is None else sum(a != b for a, b in zip(self.trained, self.fed, strict=True))

    def __str__(self) -> str:
        """In words for people."""
        found = f"{len(self.fed)} inputs; inputs {list(self.magnitudes)} (from 0) split like magnitudes"
        if self.trained is None:
            return f"{found}, which fits no order that is known"
        name = "the order that Fink feeds" if not self.misfed else "the features sorted by name"
        rest = f"; Fink feeds another order, so that {self.misfed} inputs get another feature" if self.misfed else ""
        return f"{found}: trained on {name}{rest}"


def find_order(forest: Forest) -> Order:
    """Which order of features a forest of 18 or 25 inputs was trained on, from its thresholds. Else `ModelError`."""
    fed = FED.get(forest.n_features)
    if fed is None:
        raise ModelError(f"has {forest.n_features} inputs; Fink's have {' or '.join(map(str, FED))}", where="forest")
    arrays = forest.to_arrays()
    feature, threshold = arrays["feature"], arrays["threshold"]
    found = []
    for place in range(len(fed)):
        splits = threshold[feature == place]
        if len(splits):
            low, high = np.quantile(splits, [OUTER_SHARE, 1 - OUTER_SHARE])
            if low >= BRIGHTEST and high <= FAINTEST:
                found.append(place)
    for order in (fed, tuple(sorted(fed))):
        if [place for place, name in enumerate(order) if name in MAGNITUDES] == found:
            return Order(order, fed, tuple(found))
    return Order(None, fed, tuple(found))


def band_forests(
    forests: Mapping[str, Forest],
    means: Mapping[str, Mapping[str, float]],
    features: Sequence[str],
    regime: Regime,
    aligned: bool = False,
) -> BandForests:
    """Fink's pair of forests over rows with these features ("g_mean" is the mean in band g).

    forests and means (feature → value that Fink fills in) are by the name in Fink's files, "g" and "r". Each forest is
    fed as Fink feeds it, or, `aligned`, what it was trained on. Raises `ModelError` if that can't be told.
    """
    bands = {}
    for band, name in FOREST_OF_BAND.items():
        order = find_order(forests[name])
        inputs = order.trained if aligned else order.fed
        if inputs is None:
            raise ModelError(f"{order}: import it as Fink feeds it, without aligned", where=f"forest_{name}")
        fill = np.array([means.get(name, {}).get(one, np.nan) for one in inputs])
        bands[band] = Band(forests[name], tuple(f"{band}_{one}" for one in inputs), fill)
    return BandForests(bands, regime, features)


def bundle(base: Model, forests: BandForests, training: Mapping[str, Any]) -> Model:
    """`base`, a model of the same features, with Fink's forests as its frozen part.

    The online part goes on from what `base` has learned. What `base` knows of its own frozen part's scores, and of the
    combined ones, means nothing for these forests: a partition is silent for its first 100 events, and its thresholds
    need some thousand to find their places.
    """
    base.require(forests.features)
    state = Combiner(len(base.parts)).to_arrays()["state"]
    online = [place for place, part in enumerate(base.parts) if part != "frozen"]
    state[online] = base.combiner.state[online]
    return replace(
        base,
        forest=forests,
        combiner=Combiner.from_arrays({"state": state}, len(base.parts)),
        ranker=Ranker(),
        thresholds=Thresholds.begin(),
        training={**training, "online_part_of": base.id},
        metrics={},
        created_with={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
