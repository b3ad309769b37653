"""Training: rows of features → a model whose online parts have already lived through those rows.

scikit-learn and river are imported here and nowhere on the scoring path.
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibrate import Ranker
from .combine import Combiner
from .ensemble import PARTS, Ensemble
from .errors import ModelError
from .forest import Forest
from .halfspace import HalfSpaceTrees
from .model import Model
from .prepare import Reference

# The combiner and the ranker each need 100 scores before they speak, and the half-space trees a window of 250.
FEWEST_ROWS = 1_000
LIBRARIES = ("skimstream", "numpy", "scikit-learn", "river", "light-curve")


@dataclass(frozen=True, slots=True)
class Options:
    """How to train: 100 trees of 256 rows each, as the isolation forest's paper does (Liu, Ting & Zhou 2008)."""

    trees: int = 100
    samples: int = 256
    seed: int = 42


def train(
    stream: str,
    features: Sequence[str],
    units: Sequence[str],
    matrix: NDArray[np.float64],
    options: Options | None = None,
    source: Mapping[str, Any] | None = None,
) -> Model:
    """A model from rows float64[n, f] in the order they happened, NaN = missing.

    The forest learns all rows; then the whole ensemble runs over them in order, so that a new partition starts with a
    half-space window, running scales and 5,000 ranks that mean something. Raises `ModelError` below 1,000 rows.
    """
    from sklearn.ensemble import IsolationForest

    options = options or Options()
    if len(matrix) < FEWEST_ROWS:
        raise ModelError(f"{len(matrix)} scorable rows; training needs {FEWEST_ROWS} (more files, or a wider gate)")
    reference = Reference.fit(matrix)
    filled, missing = reference.fill(matrix)
    estimator = IsolationForest(
        n_estimators=options.trees, max_samples=min(options.samples, len(matrix)), random_state=options.seed
    ).fit(filled)
    forest = Forest.from_sklearn(estimator)
    halfspace = HalfSpaceTrees.build(features, mode="robust", seed=options.seed)
    ensemble = Ensemble(forest, halfspace, reference, Combiner(len(PARTS)), Ranker())
    scores = ensemble.score_learn(matrix)
    heard = scores.score[np.isfinite(scores.score)]
    return Model(
        stream=stream,
        features=tuple(features),
        units=tuple(units),
        forest=forest,
        halfspace=halfspace,
        reference=reference,
        combiner=ensemble.combiner,
        ranker=ensemble.ranker,
        training={
            **(source or {}),
            "rows": len(matrix),
            "fingerprint": hashlib.sha256(np.ascontiguousarray(matrix).tobytes()).hexdigest(),
            "missing_share": round(float(missing.mean()), 6),
            "forest": {"trees": options.trees, "samples": options.samples, "seed": options.seed},
        },
        metrics={
            "scored_rows": len(heard),
            # About 0.01 and 0.001 if the rows come in no particular order; far above where they drift.
            "share_above_0.99": round(float((heard >= 0.99).mean()), 6),
            "share_above_0.999": round(float((heard >= 0.999).mean()), 6),
        },
        created_with={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
