"""A sliding isolation forest: fitted anew on the latest rows every few hundred events."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .forest import MAX_FEATURES
from .forest_kernel import add_values
from .forest_steps import add_steps
from .rolling import Floats, Rolling
from .sliding_kernel import Rows, expected_paths, fit, height_limit

# Fitting takes about 2 ms at 100 trees of 256; a bundle can't ask for more than ten times that.
MOST_SAMPLES = 10 * 100 * 256
# A node looks for a feature that varies; where hardly any does, it looks at all: 0.3 s a fit at this many cells.
MOST_CELLS = 1 << 26


class SlidingForest(Rolling):
    """An isolation forest (Liu, Ting & Zhou 2008) of the last 2,048 events, fitted anew every 512.

    A score is 2^(-mean path / c(samples)), in (0, 1), higher = more anomalous: the scale of the frozen isolation
    forest. Silent (NaN) before the first fit, after 512 events. Fits on `samples` rows a tree, or all if there are
    fewer. Trees compare in float32; `seed` and the number of the fit tell their random numbers.

    >>> X = np.random.default_rng(0).normal(size=(1_500, 3))
    >>> X[1_400] = 6.0, -6.0, 6.0
    >>> scores = SlidingForest(3, seed=1).score_learn(X)
    >>> int(np.isnan(scores).sum()), int(np.nanargmax(scores))
    (512, 1400)
    """

    SETTINGS: ClassVar = {
        "seed": (0, 2**63 - 1),
        "trees": (1, 10_000),
        "samples": (2, 1 << 16),
        "window": (2, 1 << 20),
        "every": (2, 1 << 20),
    }
    DTYPE = np.float32

    seed: int
    trees: int
    samples: int

    def __init__(
        self,
        n_features: int,
        *,
        seed: int = 0,
        trees: int = 100,
        samples: int = 256,
        window: int = 2_048,
        every: int = 512,
    ) -> None:
        """A forest that has seen nothing, for rows of so many features. Raises `ModelError` for odd settings."""
        super().__init__(n_features, seed=seed, trees=trees, samples=samples, window=window, every=every)
        if trees * samples > MOST_SAMPLES:
            raise ModelError(f"{trees} trees of {samples} rows: {MOST_SAMPLES} rows at most", where="samples")
        most = min(MAX_FEATURES, MOST_CELLS // (trees * samples))
        if n_features > most:
            raise ModelError(f"{n_features}, expected {most} at most for {trees} trees of {samples}", where="features")

    def _make(self, rows: Rows) -> None:
        samples = min(self.samples, len(rows))
        nodes = self.trees * (2 * samples - 1)
        threshold, feature = np.empty(nodes, np.float32), np.empty(nodes, np.uint16)
        left, value = np.empty(nodes, np.uint32), np.empty((nodes, 1))
        roots, depths = np.empty(self.trees, np.uint32), np.empty(self.trees, np.uint32)
        average = expected_paths(samples)
        shape = samples, height_limit(samples), average
        used = fit(rows, self.seed, self.seen // self.every, *shape, threshold, feature, left, value, roots, depths)
        no_nan_here: NDArray[np.bool_] = np.zeros(1, np.bool_)
        for array in (threshold, feature, left, no_nan_here, value, roots, depths):
            array.setflags(write=False)  # as a frozen forest's are: one compiled walk serves both
        self._walk = threshold[:used], feature[:used], left[:used], no_nan_here, value[:used], roots, depths
        self._longest = self.trees * float(average[samples])

    def _score(self, rows: Rows) -> Floats:
        path = np.zeros((len(rows), 1))
        add_values(*self._walk, rows, False, path)
        return np.asarray(2.0 ** (-(path[:, 0] / self._longest)), np.float64)

    def _contribute(self, rows: Rows) -> Floats:
        threshold, feature, left, _, value, roots, _ = self._walk
        steps = np.zeros(rows.shape)
        add_steps(threshold, feature, left, np.zeros(len(left), np.bool_), value, roots, rows, steps)
        return steps / -self.trees
