"""What a model has to beat: detectors that anybody has at hand, fitted on the same rows and judged by the same rule.

The list is the behavioural reference system's comparison table (one-class SVM, isolation forest, random forest), and
before it the two that cost nothing: calling everything normal, and the best single feature.
scikit-learn is imported here, in functions, and never on the scoring path.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .measure import Judge
from .prepare import Reference

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A one-class SVM takes time with the square of its rows: 5,000 are seconds.
SVM_ROWS = 5_000
TREES = 100


class Fitted(NamedTuple):
    """A fitted baseline: `scores` of rows float64[n, f] (NaN = missing), and a word about what was fitted."""

    scores: Callable[[Floats], Floats]
    detail: str


Baseline = Callable[[Sequence[str], Floats, Bools, int], Fitted]


def all_normal(features: Sequence[str], rows: Floats, labels: Bools, seed: int) -> Fitted:
    """Never raises an alarm. Its accuracy is the share of ordinary events."""
    return Fitted(lambda some: np.zeros(len(some)), "no alarm, ever")


def one_feature(features: Sequence[str], rows: Floats, labels: Bools, seed: int) -> Fitted:
    """The feature, high or low, with the best average precision on these rows."""
    reference = Reference.fit(rows)
    filled, _ = reference.fill(rows)
    precision = [
        (Judge(labels, sign * column).curve().average_precision, -place, sign)
        for place, column in enumerate(filled.T)
        for sign in (1.0, -1.0)
    ]
    _, place, sign = max(precision)
    chosen = -place
    return Fitted(
        lambda some: sign * reference.fill(some)[0][:, chosen], f"{'high' if sign > 0 else 'low'} {features[chosen]}"
    )


def one_class_svm(features: Sequence[str], rows: Floats, labels: Bools, seed: int) -> Fitted:
    """A one-class SVM (Schölkopf et al. 2001), RBF kernel, on standardised rows; nu is the share of anomalies."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import OneClassSVM

    reference = Reference.fit(rows)
    some = np.sort(np.random.default_rng(seed).permutation(len(rows))[:SVM_ROWS])
    nu = float(np.clip(labels.mean(), 0.01, 0.5))
    pipeline = make_pipeline(StandardScaler(), OneClassSVM(nu=nu)).fit(reference.fill(rows[some])[0])
    return Fitted(
        lambda asked: -np.asarray(pipeline.score_samples(reference.fill(asked)[0]), np.float64),
        f"nu {nu:.3g}, {len(some):,} rows",
    )


def isolation_forest(features: Sequence[str], rows: Floats, labels: Bools, seed: int) -> Fitted:
    """scikit-learn's isolation forest as it comes; labels unused."""
    from sklearn.ensemble import IsolationForest

    reference = Reference.fit(rows)
    forest = IsolationForest(n_estimators=TREES, random_state=seed, n_jobs=1).fit(reference.fill(rows)[0])
    return Fitted(
        lambda asked: -np.asarray(forest.score_samples(reference.fill(asked)[0]), np.float64),
        f"{TREES} trees, no labels",
    )


def random_forest(features: Sequence[str], rows: Floats, labels: Bools, seed: int) -> Fitted:
    """The behavioural reference system's forest: 200 trees of depth 10, anomalies weighing twice."""
    from sklearn.ensemble import RandomForestClassifier

    reference = Reference.fit(rows)
    forest = RandomForestClassifier(
        n_estimators=2 * TREES,
        max_depth=10,
        min_samples_split=5,
        min_samples_leaf=2,
        class_weight={False: 1, True: 2},
        random_state=seed,
        n_jobs=1,
    ).fit(reference.fill(rows)[0], labels)
    return Fitted(
        lambda asked: np.asarray(forest.predict_proba(reference.fill(asked)[0])[:, 1], np.float64),
        f"{2 * TREES} trees of depth 10",
    )


#: By the name that the table shows, in its order.
BASELINES: Mapping[str, Baseline] = {
    "all normal": all_normal,
    "best single feature": one_feature,
    "One-Class SVM": one_class_svm,
    "Isolation Forest": isolation_forest,
    "Random Forest": random_forest,
}
