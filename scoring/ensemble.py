"""The detector of one partition: frozen forest + online half-space trees → one score an event.

Scores are a pure function of the model and the rows seen so far, event by event; how rows are cut into batches, the
clock and the machine's load change no bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .calibrate import Ranker
from .combine import Combiner
from .forest import Forest
from .halfspace import HalfSpaceTrees
from .prepare import Reference

Floats = NDArray[np.float64]

#: The parts, in the order of the columns of `raw` and `z`.
PARTS = ("frozen", "online")


@dataclass(frozen=True, slots=True)
class Scores:
    """One row an event; higher is always more anomalous.

    score float64[n] in [0, 1) (NaN while the ensemble is still warming up); combined float64[n], the value behind it;
    raw and z float64[n, 2] by `PARTS` (NaN = the part is silent); missing bool[n, f], the values that were imputed.
    """

    score: Floats
    combined: Floats
    raw: Floats
    z: Floats
    missing: NDArray[np.bool_]


class Ensemble:
    """Forest, half-space trees, combiner and ranker of one partition. Owns all but the forest and the reference."""

    def __init__(
        self, forest: Forest, halfspace: HalfSpaceTrees, reference: Reference, combiner: Combiner, ranker: Ranker
    ) -> None:
        self.forest = forest
        self.halfspace = halfspace
        self.reference = reference
        self.combiner = combiner
        self.ranker = ranker

    def score_learn(self, matrix: Floats) -> Scores:
        """Score the rows of float64[n, f] (NaN = missing), each before it is learned, in order."""
        filled, missing = self.reference.fill(matrix)
        raw = np.column_stack([self.forest.anomaly(filled), self.halfspace.score_learn(filled)])
        combined, z = self.combiner.combine(raw)
        return Scores(self.ranker.rank(combined), combined, raw, z, missing)
