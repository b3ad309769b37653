"""Every part's raw scores of a stream, and the combined value of any choice of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skimstream.scoring.combine import Combiner
from skimstream.scoring.ecdf import RollingEcdf
from skimstream.scoring.halfspace import HalfSpaceTrees
from skimstream.scoring.rules import broken_rules, rule_columns
from skimstream.scoring.sliding import SlidingForest
from skimstream.scoring.train import Options, train

from .labelled import Bools, Floats, Labelled

#: Half-space trees: the options that are compared, the first being the plain ones.
HALFSPACE: dict[str, dict[str, Any]] = {
    "online": {},
    "online 1000": {"window_size": 1_000},
    "online winsor": {"winsor": True},
    "online 1000 winsor": {"window_size": 1_000, "winsor": True},
    "online guard": {"winsor": True, "guard": True},
    "online 1000 guard": {"window_size": 1_000, "winsor": True, "guard": True},
}
RIVER = "river"
BATCH = 1_024


class Run:
    """Raw scores of the rows that break no rule, part by part, and how to judge a value of those rows."""

    def __init__(self, stream: Labelled, seed: int, halfspace: Sequence[str] = ("online",)) -> None:
        self.stream, self.seed = stream, seed
        self.broken = broken_rules(stream.matrix, rule_columns(stream.features))
        self.kept: Bools = self.broken == 0
        self.prefix = int(self.kept[: stream.prefix].sum())
        names, units = stream.features, ("1",) * len(stream.features)
        model = train(stream.name, names, units, stream.matrix[: stream.prefix], options=Options(seed=seed))
        rows = np.ascontiguousarray(model.reference.fill(stream.matrix[self.kept])[0])
        self.raw: dict[str, Floats] = {"frozen": model.forest.anomaly(rows)}
        for name in halfspace:
            self.raw[name] = HalfSpaceTrees.build(names, seed=seed, **HALFSPACE[name]).score_learn(rows)
        self.raw["sliding"] = SlidingForest(len(names), seed=seed).score_learn(rows)
        self.raw["ecdf"] = RollingEcdf(len(names)).score_learn(rows)
        self.raw[RIVER] = HalfSpaceTrees.build(names, "river", scaled=True, seed=seed).score_learn(rows)

    def combined(self, parts: Sequence[str]) -> Floats:
        """float64[n] of the kept rows; the first part is the frozen one, or none is."""
        raw = np.column_stack([self.raw[part] for part in parts])
        if parts[0] != "frozen":
            raw = np.column_stack([np.full(len(raw), np.nan), raw])
        combiner = Combiner(raw.shape[1])
        training, _ = combiner.combine(raw[: self.prefix])
        combiner.settle()
        return np.concatenate([training, combiner.combine(raw[self.prefix :])[0]])

    def judged(self, value: Floats) -> tuple[float, float]:
        """ROC-AUC and AP after the prefix of a value of the kept rows; rule-breaking rows rank above all."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        value = np.where(np.isnan(value), np.nanmin(value), value)
        everywhere = value.max() + self.broken
        everywhere[self.kept] = value
        tail, truth = everywhere[self.stream.prefix :], self.stream.anomaly[self.stream.prefix :]
        return float(roc_auc_score(truth, tail)), float(average_precision_score(truth, tail))


def streamed(stream: Labelled, options: Options) -> Mapping[str, Floats]:
    """The real thing: a model of the prefix, then micro-batches through its ensemble; `score`, `combined` of all rows
    (NaN in the prefix) and the CPU `seconds` of the micro-batches."""
    from time import process_time

    names, units = stream.features, ("1",) * len(stream.features)
    ensemble = train(stream.name, names, units, stream.matrix[: stream.prefix], options=options).ensemble()
    found = np.full((2, len(stream.matrix)), np.nan)
    began = process_time()
    for start in range(stream.prefix, len(stream.matrix), BATCH):
        scores = ensemble.score_learn(stream.matrix[start : start + BATCH])
        found[:, start : start + BATCH] = scores.score, scores.combined
    return {"score": found[0], "combined": found[1], "seconds": np.array(process_time() - began)}
