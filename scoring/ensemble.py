"""The detector of one partition: frozen forest + online half-space trees → one score an event.

Scores are a pure function of the model and the rows seen so far, event by event; how rows are cut into batches, the
clock and the machine's load change no bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .band_forests import BandForests, FrozenForest
from .calibrate import Ranker
from .combine import Combiner
from .halfspace import HalfSpaceTrees
from .prepare import Reference
from .rules import broken_rules, rule_columns, rule_scores

Floats = NDArray[np.float64]

#: The parts, in the order of the columns of `raw` and `z`.
PARTS = ("frozen", "online")


# A hundred trees can't tell a probability of 1 in 1,000 from 0; beyond this, log-odds would be noise.
SMALLEST_PROBABILITY = 1e-3


def evidence(forest: FrozenForest, frozen: Floats) -> Floats:
    """What the combiner hears of a forest's float64[n]: a classifier's log-odds, else its score.

    Probabilities of ordinary events crowd at 0, so that on their own scale 0.3 and 1.0 would both be beyond the cap.
    """
    if forest.kind != "classifier":
        return frozen
    probability = np.clip(frozen, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(np.log(probability / (1 - probability)), np.float64)


class Trail(Protocol):
    """What a part that learns keeps of a batch, to tell afterwards which features made its scores."""

    def contributions(self, rows: NDArray[np.int64]) -> Floats:
        """float64[k, f] of k rows that it scored: what each feature added, positive = towards anomaly, NaN = silent."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One row an event; higher is always more anomalous.

    score float64[n] in [0, 1) (NaN while the ensemble is still warming up); combined float64[n], the value behind it;
    raw and z float64[n, 2] by `PARTS` (NaN = the part is silent); missing bool[n, f], the values that were imputed.
    trails: by part, for `Ensemble.contributions`; place int64[n], each event's row in them, -1 if nothing learned it.
    """

    score: Floats
    combined: Floats
    raw: Floats
    z: Floats
    missing: NDArray[np.bool_]
    trails: Mapping[str, Trail] = field(default_factory=dict)
    place: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Ensemble:
    """Forest, half-space trees, combiner and ranker of one partition. Owns all but the forest and the reference."""

    def __init__(
        self, forest: FrozenForest, halfspace: HalfSpaceTrees, reference: Reference, combiner: Combiner, ranker: Ranker
    ) -> None:
        self.forest = forest
        self.halfspace = halfspace
        self.reference = reference
        self.combiner = combiner
        self.ranker = ranker
        self.rules = rule_columns(halfspace.features)

    def score_learn(self, matrix: Floats) -> Scores:
        """Score the rows of float64[n, f] (NaN = missing), each before it is learned, in order.

        A row that breaks a rule (`rules`) scores above all that break none, and isn't learned: `online` is silent.
        """
        broken = broken_rules(matrix, self.rules)
        kept = np.flatnonzero(broken == 0)
        if len(kept) == len(matrix):
            return self._score_learn(matrix)
        filled, missing = self.reference.fill(matrix)
        score, combined = rule_scores(broken)
        raw = np.column_stack([self.forest.anomaly(filled), np.full(len(matrix), np.nan)])
        z = np.full(raw.shape, np.nan)
        valid = self._score_learn(matrix[kept])
        score[kept], combined[kept], raw[kept], z[kept] = valid.score, valid.combined, valid.raw, valid.z
        place = np.full(len(matrix), -1)
        place[kept] = valid.place
        return Scores(score, combined, raw, z, missing, valid.trails, place)

    def contributions(self, matrix: Floats, scores: Scores, chosen: NDArray[np.int64]) -> dict[str, Floats]:
        """By part, float64[k, f] of the chosen rows of a batch that was scored: what each feature added to its score.

        Positive = towards anomaly, in units of the part (path lengths, shares of votes, bits); NaN = the part is
        silent. It is what was true when the event was scored, whatever was learned since.
        """
        rows = matrix[chosen]
        seen = rows if isinstance(self.forest, BandForests) else self.reference.fill(rows)[0]
        found = {"frozen": self.forest.contributions(seen)}
        place = scores.place[chosen]
        for part, trail in scores.trails.items():
            found[part] = np.full(rows.shape, np.nan)
            found[part][place >= 0] = trail.contributions(place[place >= 0])
        return found

    def _score_learn(self, matrix: Floats) -> Scores:
        filled, missing = self.reference.fill(matrix)
        # A forest a band has its own rule for what is missing; where it has no score, that part is silent.
        seen = matrix if isinstance(self.forest, BandForests) else filled
        online, trail = self.halfspace.score_learn_traced(filled)
        raw = np.column_stack([self.forest.anomaly(seen), online])
        combined, z = self.combiner.combine(np.column_stack([evidence(self.forest, raw[:, 0]), raw[:, 1]]))
        trails: dict[str, Trail] = {} if trail is None else {"online": trail}
        return Scores(self.ranker.rank(combined), combined, raw, z, missing, trails, np.arange(len(matrix)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What events have taught it, as copies: what a checkpoint keeps beside the model's id."""
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "halfspace": self.halfspace.state(),
            "combiner": self.combiner.to_arrays(),
            "ranker": self.ranker.to_arrays(),
        }
        return {f"{part}.{name}": array for part, group in parts.items() for name, array in group.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave, of the same model. Raises `ModelError`, and then nothing has changed."""
        parts: dict[str, dict[str, NDArray[Any]]] = {"halfspace": {}, "combiner": {}, "ranker": {}}
        for name, array in arrays.items():
            part, _, own = name.partition(".")
            if part in parts:
                parts[part][own] = array
        combiner = Combiner.from_arrays(parts["combiner"], len(PARTS))
        ranker = Ranker.from_arrays(parts["ranker"])
        self.halfspace.restore(parts["halfspace"])
        self.combiner, self.ranker = combiner, ranker
