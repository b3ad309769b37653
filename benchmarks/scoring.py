"""Forest and half-space trees against scikit-learn and River: ratios in one run, interleaved, medians of `REPEATS`.

Run by `make bench-scoring`. CPU time, one thread; the last line is one JSON object. Absolute rates belong to the
machine they were measured on; compare ratios only.
"""

import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from river import anomaly
from sklearn.ensemble import IsolationForest

from skimstream.scoring.forest import Forest
from skimstream.scoring.halfspace import HalfSpaceTrees

REPEATS = 5
FEATURES = 18
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(4_096, FEATURES))


def seconds(work: Callable[[], object], times: int) -> float:
    """CPU seconds of one call, over `times` calls."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def ratio(theirs: Callable[[], object], ours: Callable[[], object], times: tuple[int, int]) -> float:
    """How many times less CPU ours takes: the median over interleaved repeats."""
    ours()
    theirs()
    return statistics.median(seconds(theirs, times[0]) / seconds(ours, times[1]) for _ in range(REPEATS))


def forest_ratios() -> dict[str, float]:
    """Isolation forest, 100 trees, 18 features, by batch size."""
    estimator = IsolationForest(n_estimators=100, random_state=0, n_jobs=1).fit(ROWS)
    forest = Forest.from_sklearn(estimator)
    found = {}
    for batch, times in ((1, (5, 2_000)), (256, (5, 100)), (1_024, (5, 40))):
        rows = np.ascontiguousarray(ROWS[:batch])
        found[f"forest_batch_{batch}"] = ratio(
            lambda rows=rows: estimator.score_samples(rows), lambda rows=rows: forest.score_samples(rows), times
        )
    return found


def halfspace_ratios() -> dict[str, float]:
    """Half-space trees, score and learn, batches of 1,024; building the trees isn't counted."""
    names = [f"f{i:02d}" for i in range(FEATURES)]
    rows = RNG.random((1_024, FEATURES))
    dicts = [dict(zip(names, row.tolist(), strict=True)) for row in rows]

    def rivers(model: anomaly.HalfSpaceTrees) -> Callable[[], object]:
        def run() -> None:
            for row in dicts:
                model.score_one(row)
                model.learn_one(row)

        return run

    found = {}
    for trees, height, times in ((10, 8, (1, 50)), (25, 15, (1, 20))):
        river = rivers(anomaly.HalfSpaceTrees(n_trees=trees, height=height, seed=0))
        same = HalfSpaceTrees.build(names, "river", n_trees=trees, height=height, seed=0)
        found[f"halfspace_river_{trees}x{height}"] = ratio(river, lambda same=same: same.score_learn(rows), times)
    river = rivers(anomaly.HalfSpaceTrees(n_trees=10, height=8, seed=0))
    robust = HalfSpaceTrees.build(names, "robust", seed=0)
    found["halfspace_robust_25x8_to_river_10x8"] = ratio(river, lambda: robust.score_learn(rows), (1, 20))
    return found


def main() -> None:
    """Print the ratios."""
    figures = {name: round(value, 1) for name, value in {**forest_ratios(), **halfspace_ratios()}.items()}
    for name, value in figures.items():
        print(f"{name:40s} {value:8.1f} x less CPU")
    print(json.dumps({"ratios": figures, "repeats": REPEATS, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
