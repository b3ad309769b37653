"""Training: rows of features → a model whose online parts have already lived through those rows.

scikit-learn and river are imported here and nowhere on the scoring path.
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibrate import Ranker
from .combine import Combiner
from .ecdf import RollingEcdf
from .ensemble import PARTS, evidence, lead_of, parts_of
from .errors import ModelError
from .forest import Forest
from .halfspace import HalfSpaceTrees
from .model import Model
from .prepare import Reference
from .probability import calibrate
from .rules import broken_rules, rule_columns
from .sliding import SlidingForest
from .threshold import Thresholds

Floats = NDArray[np.float64]

# The combiner and the ranker each need 100 scores before they speak, and the half-space trees a window of 250.
FEWEST_ROWS = 1_000
LIBRARIES = ("skimstream", "numpy", "scikit-learn", "river", "light-curve")


@dataclass(frozen=True, slots=True)
class Options:
    """How to train: 100 trees; 256 rows a tree of an isolation forest, as its paper has it (Liu, Ting & Zhou 2008).

    `parts` names the parts, of `ensemble.PARTS`, the first two among them; `window`, `winsor` and `guard` are those of
    the half-space trees (`HalfSpaceTrees`). Raises `ModelError` for parts that there aren't.
    `tuned`: scikit-learn's own parameters of the forest, as `search` finds them; they win over the others.
    """

    trees: int = 100
    samples: int = 256
    seed: int = 42
    tuned: Mapping[str, int | float | str | None] = field(default_factory=dict)
    parts: tuple[str, ...] = ("frozen", "online", "sliding")
    window: int = 250
    winsor: bool = False
    guard: bool = False

    def __post_init__(self) -> None:
        if not set(PARTS[:2]) <= set(self.parts) <= set(PARTS):
            most = ", ".join(PARTS)
            raise ModelError(f"are {', '.join(self.parts)}: choose from {most}, the first two always", where="parts")


# Leaves of a random forest hold at least this many rows, so that its shares are not all 0 or 1.
LEAF_ROWS = 3


def train(
    stream: str,
    features: Sequence[str],
    units: Sequence[str],
    matrix: NDArray[np.float64],
    labels: NDArray[np.bool_] | None = None,
    options: Options | None = None,
    source: Mapping[str, Any] | None = None,
) -> Model:
    """A model from rows float64[n, f] in the order they happened, NaN = missing.

    Without labels the frozen part is an isolation forest, with labels bool[n] (True = anomaly) a random forest. Then
    the online parts live through the rows in order, so that a new partition starts with a half-space window, running
    scales and 5,000 ranks that mean something. Raises `ModelError` below 1,000 rows, or for labels of one kind only.
    """
    options = options or Options()
    kept = broken_rules(matrix, rule_columns(features)) == 0  # the others are no examples of anything
    if labels is not None and np.shape(labels) == kept.shape:  # of another shape, they are refused below
        labels = np.asarray(labels, np.bool_)[kept]
    matrix = matrix[kept]
    if len(matrix) < FEWEST_ROWS:
        raise ModelError(f"{len(matrix)} scorable rows; training needs {FEWEST_ROWS} (more files, or a wider gate)")
    reference = Reference.fit(matrix)
    filled, missing = reference.fill(matrix)
    forest, frozen, metrics = (
        _isolation(filled, options) if labels is None else _supervised(filled, np.asarray(labels, np.bool_), options)
    )
    halfspace = HalfSpaceTrees.build(
        features,
        mode="robust",
        window_size=options.window,
        seed=options.seed,
        winsor=options.winsor,
        guard=options.guard,
    )
    sliding = SlidingForest(len(features), seed=options.seed) if "sliding" in options.parts else None
    ecdf = RollingEcdf(len(features)) if "ecdf" in options.parts else None
    online = [part.score_learn(filled) for part in (halfspace, sliding, ecdf) if part is not None]
    combiner, ranker = Combiner(len(parts_of(sliding, ecdf))), Ranker()
    combined, _ = combiner.combine(np.column_stack([evidence(forest, frozen), *online]), lead_of(forest))
    combiner.settle()
    score = ranker.rank(combined)
    heard = score[np.isfinite(score)]
    probability, calibration = (None, {}) if labels is None else calibrate(frozen, labels, options.seed)
    return Model(
        stream=stream,
        features=tuple(features),
        units=tuple(units),
        forest=forest,
        halfspace=halfspace,
        reference=reference,
        combiner=combiner,
        ranker=ranker,
        thresholds=Thresholds.fit(combined),
        sliding=sliding,
        ecdf=ecdf,
        training={
            **(source or {}),
            "rows": len(matrix),
            "rule_breaking_rows": int((~kept).sum()),
            "fingerprint": hashlib.sha256(np.ascontiguousarray(matrix).tobytes()).hexdigest(),
            "missing_share": round(float(missing.mean()), 6),
            "anomalies": None if labels is None else int(labels.sum()),
            "parts": list(parts_of(sliding, ecdf)),
            "halfspace": {"window": options.window, "winsor": options.winsor, "guard": options.guard},
            "forest": {
                "kind": forest.kind,
                "trees": forest.n_trees,
                "samples": options.samples,
                "seed": options.seed,
                **({"tuned": dict(options.tuned)} if options.tuned else {}),
            },
        },
        metrics={
            **metrics,
            **calibration,
            "scored_rows": len(heard),
            # About 0.01 and 0.001 if the rows come in no particular order; far above where they drift.
            "share_above_0.99": round(float((heard >= 0.99).mean()), 6),
            "share_above_0.999": round(float((heard >= 0.999).mean()), 6),
        },
        created_with={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        probability=probability,
    )


def _isolation(filled: Floats, options: Options) -> tuple[Forest, Floats, dict[str, float]]:
    """An isolation forest and its scores of the rows (each tree saw so few of them that they count as unseen)."""
    from sklearn.ensemble import IsolationForest

    parameters: dict[str, Any] = {"n_estimators": options.trees, "max_samples": options.samples, **options.tuned}
    parameters["max_samples"] = min(parameters["max_samples"], len(filled))
    estimator = IsolationForest(**parameters, random_state=options.seed, n_jobs=1).fit(filled)
    forest = Forest.from_sklearn(estimator, allow_nan=False)
    return forest, forest.anomaly(filled), {}


def _supervised(filled: Floats, labels: NDArray[np.bool_], options: Options) -> tuple[Forest, Floats, dict[str, float]]:
    """A random forest and its *out-of-bag* scores: those of the trees that have not seen the row."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import average_precision_score, roc_auc_score

    if labels.shape != (len(filled),) or labels.all() or not labels.any():
        raise ModelError("labels must be one bool a row, of both kinds: some anomalies and some ordinary events")
    parameters: dict[str, Any] = {"n_estimators": options.trees, "min_samples_leaf": LEAF_ROWS, **options.tuned}
    estimator = RandomForestClassifier(**parameters, oob_score=True, random_state=options.seed, n_jobs=1)
    estimator.fit(filled, labels)
    # A row that every tree has seen (possible with very few trees) has no such score: it counts as ordinary.
    unseen = np.nan_to_num(estimator.oob_decision_function_[:, 1])
    metrics = {
        "out_of_bag_roc_auc": round(float(roc_auc_score(labels, unseen)), 6),
        "out_of_bag_average_precision": round(float(average_precision_score(labels, unseen)), 6),
    }
    return Forest.from_sklearn(estimator, allow_nan=False), unseen, metrics
