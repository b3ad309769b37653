"""How often the reasons name what was done to an event, and what a row's reasons cost; `make bench-explain`.

Populations of p features: normal ones that hang together, heavy tails, counts. In 2 % of the events three features are
moved 4 to 7 standard deviations ("moved"), or three of those that hang together take ordinary values that don't fit
("parted"). hit@3: the share of the three among the first three of a ranking. The rule of `weigh` was chosen among
some thirty on the seeds CHOOSE; what is printed is of REPORT (`--seeds choose` for the others). Half a minute; the last
line is one JSON object.
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skimstream.scoring.ensemble import Ensemble, Scores
from skimstream.scoring.explain import Explanations, weigh
from skimstream.scoring.model import Model
from skimstream.scoring.train import Options, train

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

SEEDS = {"choose": range(100, 105), "report": range(200, 205)}
SETTINGS = ((18, 100), (52, 100), (18, 300))  # features, trees
TRAINING, STREAM, SHARE, FACTORS = 5_000, 4_000, 0.02, 3
# The first events only fill windows and scales.
QUIET = STREAM // 4


def population(p: int, n: int, seed: int) -> Floats:
    """Rows float64[n, p]: half of the features from three common factors, a quarter lognormal, a quarter counts."""
    rng = np.random.default_rng(seed)
    loading = np.random.default_rng(p).normal(size=(FACTORS, p))
    loading /= np.sqrt((loading**2).sum(axis=0))
    rows: Floats = 0.9 * rng.normal(size=(n, FACTORS)) @ loading + 0.44 * rng.normal(size=(n, p))
    rows[:, p // 2 : 3 * p // 4] = np.exp(rng.normal(size=(n, 3 * p // 4 - p // 2)))
    rows[:, 3 * p // 4 :] = rng.poisson(3.0, size=(n, p - 3 * p // 4))
    return rows


def injected(rows: Floats, kind: str, seed: int) -> tuple[Floats, Places, NDArray[np.bool_]]:
    """The rows with anomalies among them, which rows these are, and bool[k, p] of the features that were touched."""
    rng = np.random.default_rng(seed)
    rows, (n, p) = rows.copy(), rows.shape
    spread = rows.std(axis=0)
    chosen = np.sort(rng.choice(np.arange(QUIET, n), int(SHARE * n), replace=False))
    touched = np.zeros((len(chosen), p), np.bool_)
    for i, row in enumerate(chosen):
        three = rng.choice(p if kind == "moved" else p // 2, 3, replace=False)
        touched[i, three] = True
        if kind == "moved":
            rows[row, three] += rng.choice([-1, 1], 3) * rng.uniform(4, 7, 3) * spread[three]
        else:
            rows[row, three] = -np.sign(rows[row, three]) * rng.uniform(0.8, 1.6, 3) * spread[three]
    return rows, chosen, touched


def trained(p: int, trees: int, seed: int) -> Model:
    """A model of such a population."""
    names = [f"f{i:02d}" for i in range(p)]
    return train("test", names, ["1"] * p, population(p, TRAINING, seed), options=Options(trees=trees, seed=seed))


def hits(model: Model, rows: Floats, chosen: Places, touched: NDArray[np.bool_]) -> dict[str, float]:
    """hit@3 by ranking."""
    ensemble = model.ensemble()
    parts = ensemble.contributions(rows, ensemble.score_learn(rows), chosen)
    _, rarity = model.reference.places(rows[chosen])
    rankings = {
        "deviation": np.abs(model.reference.deviation(rows[chosen])),
        "rarity": rarity,
        "forest": parts["frozen"],
        "halfspace": parts["online"],
        "weights": weigh(rarity, np.array([*parts.values()]))[1],
    }
    first = {name: np.argsort(-ranking, axis=1, kind="stable")[:, :3] for name, ranking in rankings.items()}
    return {name: float(np.take_along_axis(touched, three, axis=1).mean()) for name, three in first.items()}


def explain(model: Model, ensemble: Ensemble, rows: Floats, scores: Scores, chosen: Places) -> list[Any]:
    """What a worker does for its chosen rows: reasons and table, ready for JSON."""
    parts = ensemble.contributions(rows, scores, chosen)
    why = Explanations(rows[chosen], model.reference, model.features, model.units, "events", parts)
    return [([one.to_json() for one in why.reasons(i)], why.table(i)) for i in range(len(chosen))]


def microseconds(model: Model, rows: Floats) -> dict[str, float]:
    """CPU a row, by how many are explained at once; and what recording the trail adds to scoring and learning."""
    ensemble, batch = model.ensemble(), rows[:500]
    scores = ensemble.score_learn(batch)
    found = {}
    for many in (1, 10, 500):
        chosen = np.arange(many)
        explain(model, ensemble, batch, scores, chosen)
        found[f"row_of_{many}"] = least(lambda chosen=chosen: explain(model, ensemble, batch, scores, chosen)) / many
    said = explain(model, ensemble, batch, scores, np.arange(500))
    found["json"] = least(lambda: [json.dumps(one, separators=(",", ":"), allow_nan=False) for one in said]) / 500
    plain, traced = model.halfspace.copy(), model.halfspace.copy()
    filled, _ = model.reference.fill(batch)
    traced.score_learn_traced(filled)
    found["halfspace"] = least(lambda: plain.score_learn(filled)) / len(batch)
    found["halfspace_traced"] = least(lambda: traced.score_learn_traced(filled)) / len(batch)
    return {name: round(value, 2) for name, value in found.items()}


def least(work) -> float:  # type: ignore[no-untyped-def]
    """Microseconds of CPU, the least of many."""
    times = []
    for _ in range(50):
        began = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - began)
    return min(times) / 1e3


def main() -> None:
    """Print hit@3 by setting, kind and ranking, and the costs."""
    seeds = SEEDS["choose" if "choose" in sys.argv[1:] else "report"]
    figures: dict[str, dict[str, float]] = {}
    costs = {}
    for p, trees in SETTINGS:
        each: dict[str, list[dict[str, float]]] = {"moved": [], "parted": []}
        for seed in seeds:
            model, rows = trained(p, trees, seed), population(p, STREAM, seed + 1_000)
            for kind, found in each.items():
                found.append(hits(model, *injected(rows, kind, seed)))
        for kind, found in each.items():
            mean = {name: round(float(np.mean([one[name] for one in found])), 3) for name in found[0]}
            figures[f"{kind}_{p}x{trees}"] = mean
            print(f"{kind:7s} {p} features, {trees} trees: ", "  ".join(f"{k} {v:.2f}" for k, v in mean.items()))
        costs[f"{p}x{trees}"] = microseconds(model, rows)
        print(f"        {p} features, {trees} trees, µs:", costs[f"{p}x{trees}"])
    print(json.dumps({"hit_at_3": figures, "microseconds": costs, "seeds": list(seeds), "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
