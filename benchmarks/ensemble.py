"""Events a second of whole ensembles on one core: 18 features, micro-batches of 500, isolation forest of 100 trees.

Run by `make bench-ensemble`. CPU time, one thread, medians of `REPEATS` interleaved runs, once everything is warm; the
last line is one JSON object. Absolute rates belong to the machine they were measured on.
"""

import json
import os
import statistics
import time

import numpy as np

from skimstream.scoring.model import Model
from skimstream.scoring.train import Options, train

REPEATS = 5
FEATURES = 18
BATCH, EVENTS = 500, 20_000
CONFIGURATIONS = {
    "frozen+online": (),
    "frozen+online+sliding": ("sliding",),
    "frozen+online+sliding+ecdf": ("sliding", "ecdf"),
}
RNG = np.random.default_rng(0)


def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Ordinary, heavy-tailed and count columns, six of each, and a hundredth of the values missing."""
    matrix = RNG.normal(size=(count, FEATURES))
    matrix[:, 6:12] = RNG.standard_t(2, size=(count, 6))
    matrix[:, 12:] = RNG.poisson(2.0, size=(count, 6))
    matrix[RNG.random(matrix.shape) < 0.01] = np.nan
    return matrix


def seconds(model: Model, events: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """CPU seconds for the events, by a partition that starts where training ended."""
    ensemble = model.ensemble()
    began = time.process_time()
    for start in range(0, len(events), BATCH):
        ensemble.score_learn(events[start : start + BATCH])
    return time.process_time() - began


def main() -> None:
    """Print the rates."""
    names = [f"f{i:02d}" for i in range(FEATURES)]
    training, events = rows(6_000), rows(EVENTS)
    models = {
        name: train("bench", names, ["1"] * FEATURES, training, options=Options(parts=("frozen", "online", *optional)))
        for name, optional in CONFIGURATIONS.items()
    }
    for model in models.values():
        seconds(model, events[:2_000])
    runs = [{name: seconds(model, events) for name, model in models.items()} for _ in range(REPEATS)]
    taken = {name: statistics.median(run[name] for run in runs) for name in models}
    for name, spent in taken.items():
        print(f"{name:30s} {EVENTS / spent:10,.0f} events/s {spent / EVENTS * 1e6:8.1f} µs an event")
    rates = {name: round(EVENTS / spent) for name, spent in taken.items()}
    print(json.dumps({"events_per_second": rates, "repeats": REPEATS, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
