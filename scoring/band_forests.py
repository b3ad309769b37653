"""A forest a band, each with inputs of its own, combined into one score as Fink combines them.

What a missing feature means differs by `Regime`, Fink's rules of three times:

- "A" (to 2025-10-16): the mean of the bands, if both are present, with missing features filled from a table of means.
- "B" (to 2025-12-10): the minimum over the valid bands; valid is a band with any of its inputs, the rest is filled.
- "C" (since 2025-12-20): the minimum over the valid bands; valid is a band with all of its inputs, nothing is filled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import FeatureMismatch, ModelError
from .forest import LARGEST_WEIGHT, Forest

Floats = NDArray[np.float64]
Regime = Literal["A", "B", "C"]
REGIMES: tuple[Regime, ...] = get_args(Regime)

# One for each of the bands u, g, r, i, z, y.
MAX_BANDS = 6
KIND = "bands"


@dataclass(frozen=True, eq=False)
class Band:
    """One band's forest; the names of its inputs, in order; what to fill each with, float64[inputs], NaN = nothing."""

    forest: Forest
    inputs: tuple[str, ...]
    means: Floats


class BandForests:
    """The forests of some bands over one row of features. Stands in for a `Forest` in an `Ensemble`.

    `features` are the names of the columns of X, of which each band takes its own; X is float64[n, len(features)],
    NaN = missing. `bands` and `regime` as told above; regimes A and B need means, A needs all bands.

    >>> split = {
    ...     "kind": np.array("additive"), "n_features": np.array(1), "takes_nan": np.array(False),
    ...     "tree_sizes": np.array([3]), "feature": np.array([0, -1, -1], np.int16),
    ...     "threshold": np.array([1, np.inf, np.inf], np.float32), "missing_left": np.zeros(3, bool),
    ...     "value": np.array([[0.0], [-0.25], [-0.75]]),
    ... }
    >>> bands = {name: Band(Forest(split), (f"{name}_amplitude",), np.array([np.nan])) for name in "gr"}
    >>> forests = BandForests(bands, "C", ["g_amplitude", "r_amplitude"])
    >>> forests.score_samples(np.array([[0.5, 2.0], [0.5, np.nan], [np.nan, np.nan]]))
    array([-0.75, -0.25,   nan])
    """

    kind: Literal["bands"] = "bands"

    def __init__(self, bands: Mapping[str, Band], regime: Regime, features: Sequence[str]) -> None:
        """Raises `ModelError` unless all fits together, `FeatureMismatch` if an input is not among the features."""
        if regime not in REGIMES:
            raise ModelError(f"is {regime!r}, expected one of {', '.join(REGIMES)}", where="regime")
        if not 1 <= len(bands) <= MAX_BANDS or not all(name.isidentifier() for name in bands):
            raise ModelError(f"are {list(bands)[:MAX_BANDS]}, expected 1 to {MAX_BANDS} names", where="bands")
        self.bands, self.regime, self.features = dict(bands), regime, tuple(features)
        self.n_features, self.n_trees = len(self.features), sum(band.forest.n_trees for band in bands.values())
        self._columns = {name: self._checked(name, band) for name, band in self.bands.items()}

    def score_samples(self, X: Floats, present: NDArray[np.bool_] | None = None) -> Floats:
        """float64[n], lower = more anomalous; NaN where there is no score (Fink: null, in regime A 0.0).

        present bool[n, bands], for regime A alone: the bands that the light curve has a row of, be it an upper limit.
        If not given, those with any feature: a band with upper limits alone then counts as absent.
        """
        if self.regime != "A":
            return np.asarray(np.fmin.reduce(self.band_scores(X), axis=1), np.float64)
        values = np.column_stack([~np.isnan(self._inputs(X, name)).all(axis=1) for name in self.bands])
        scorable = (values if present is None else present).all(axis=1) & values.any(axis=1)
        scores = np.full(len(X), np.nan)
        each = [self._score(name, self._inputs(X, name)[scorable]) for name in self.bands]
        scores[scorable] = sum(each[1:], each[0]) / len(each)
        return scores

    def band_scores(self, X: Floats) -> Floats:
        """float64[n, bands]: each band's score where that band is valid, else NaN. In regime A as in B."""
        scores = np.full((len(X), len(self.bands)), np.nan)
        for place, name in enumerate(self.bands):
            inputs = self._inputs(X, name)
            missing = np.isnan(inputs)
            valid = ~(missing.any(axis=1) if self.regime == "C" else missing.all(axis=1))
            scores[valid, place] = self._score(name, inputs[valid])
        return scores

    def anomaly(self, X: Floats) -> Floats:
        """float64[n], higher = more anomalous: -score_samples(X)."""
        return -self.score_samples(X)

    def contributions(self, X: Floats) -> Floats:
        """float64[n, len(features)]: what each feature adds to a row's anomaly, positive = towards it.

        Of the band whose score counts (in regime A the mean over the bands); NaN where there is no score.
        """
        total = np.full(X.shape, np.nan)
        scorable = np.flatnonzero(~np.isnan(self.score_samples(X)))
        total[scorable] = 0.0
        scores = self.band_scores(X)
        lowest = np.argmin(np.where(np.isnan(scores), np.inf, scores), axis=1)
        for place, (name, columns) in enumerate(self._columns.items()):
            rows = scorable if self.regime == "A" else scorable[lowest[scorable] == place]
            share = len(self.bands) if self.regime == "A" else 1
            forest = self.bands[name].forest
            total[np.ix_(rows, columns)] += (
                forest.contributions(self._filled(name, self._inputs(X, name)[rows])) / share
            )
        return total

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays: kind, regime, bands (names, in order), and for each band its inputs, means and forest."""
        arrays: dict[str, NDArray[Any]] = {
            "kind": np.array(KIND),
            "regime": np.array(self.regime),
            "bands": np.array(list(self.bands)),
        }
        for name, band in self.bands.items():
            arrays[f"{name}.inputs"] = np.array(band.inputs)
            arrays[f"{name}.means"] = band.means
            arrays |= {f"{name}.forest.{key}": array for key, array in band.forest.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], features: Sequence[str]) -> Self:
        """What `to_arrays` gave, for rows with these features. Raises `ModelError` if anything is amiss."""
        left = dict(arrays)
        left.pop("kind", None)
        regime = _texts(left, "regime", 0)[0]
        bands: dict[str, Band] = {}
        for name in _texts(left, "bands", 1, MAX_BANDS):
            prefix = f"{name}.forest."
            own = {key.removeprefix(prefix): left.pop(key) for key in list(left) if key.startswith(prefix)}
            inputs = _texts(left, f"{name}.inputs", 1, len(features))
            means = left.pop(f"{name}.means", None)
            if means is None or means.dtype != np.float64:
                raise ModelError("is missing or not float64", where=f"{name}.means")
            bands[name] = Band(Forest.from_arrays(own), inputs, means.copy())
        if left:
            raise ModelError("is unknown: this is no saved forest, or one of another version", where=min(left))
        return cls(bands, cast("Regime", regime), features)

    def _checked(self, name: str, band: Band) -> NDArray[np.intp]:
        """The columns of X that are a band's inputs."""
        strangers = [one for one in band.inputs if one not in self.features]
        if strangers:
            raise FeatureMismatch(expected=(strangers[0],), given=self.features)
        if len(band.inputs) != band.forest.n_features or len(set(band.inputs)) != len(band.inputs):
            raise ModelError(f"are not {band.forest.n_features} different names", where=f"{name}.inputs")
        if band.forest.kind != "additive":
            raise ModelError(f"is {band.forest.kind}, expected additive", where=f"{name}.forest")
        # NaN means "never filled", which is wrong where the regime fills.
        filled = np.isfinite(band.means) if self.regime != "C" else np.ones(len(band.inputs), np.bool_)
        if band.means.shape != (len(band.inputs),) or not filled.all():
            raise ModelError(f"regime {self.regime} needs a finite mean of each input", where=f"{name}.means")
        return np.array([self.features.index(one) for one in band.inputs], np.intp)

    def _inputs(self, X: Floats, name: str) -> Floats:
        """float64[n, inputs]: a band's own columns, in its forest's order."""
        if not isinstance(X, np.ndarray) or X.dtype != np.float64 or X.ndim != 2 or X.shape[1] != self.n_features:
            given = f"{X.dtype}{list(X.shape)}" if isinstance(X, np.ndarray) else type(X).__name__
            raise ModelError(f"is {given}, expected float64[n, {self.n_features}]", where="X")
        return X[:, self._columns[name]]

    def _score(self, name: str, inputs: Floats) -> Floats:
        return self.bands[name].forest.score_samples(self._filled(name, inputs))

    def _filled(self, name: str, inputs: Floats) -> Floats:
        filled = np.where(np.isnan(inputs), self.bands[name].means, inputs)
        # Beyond float32 Fink's input is infinite. The largest number goes the same way at every threshold but itself.
        return np.clip(filled, -LARGEST_WEIGHT, LARGEST_WEIGHT)


FrozenForest = Forest | BandForests


def frozen_from_arrays(arrays: Mapping[str, NDArray[Any]], features: Sequence[str]) -> FrozenForest:
    """The forest of a bundle, of either class, for rows with these features. Raises `ModelError`."""
    kind = arrays.get("kind")
    if kind is not None and kind.shape == () and kind.dtype.kind == "U" and kind.item() == KIND:
        return BandForests.from_arrays(arrays, features)
    return Forest.from_arrays(arrays)


def _texts(left: dict[str, NDArray[Any]], name: str, ndim: int, most: int = 1) -> tuple[str, ...]:
    """Takes a text, or a list of up to `most` different ones, out of the arrays."""
    array = left.pop(name, None)
    if array is None or array.dtype.kind != "U" or array.ndim != ndim or not 1 <= array.size <= most:
        raise ModelError(f"is missing, or not 1 to {most} texts", where=name)
    texts = tuple(str(one) for one in array.ravel())
    if len(set(texts)) != len(texts):
        raise ModelError("has a name twice", where=name)
    return texts
