"""The detector of one partition: frozen forest, online half-space trees, and whatever else it has → a score an event.

Scores are a pure function of the model and the rows seen so far, event by event; how rows are cut into batches, the
clock and the machine's load change no bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .band_forests import BandForests, FrozenForest
from .calibrate import Ranker
from .combine import LABELLED_LEAD, Combiner
from .ecdf import RollingEcdf
from .halfspace import HalfSpaceTrees
from .prepare import Reference
from .rules import broken_rules, rule_columns, rule_scores
from .sliding import SlidingForest
from .threshold import SEVERITIES, Thresholds

Floats = NDArray[np.float64]

#: All parts that there can be, in the order of the columns of `raw` and `z`. The first two are always there.
PARTS = ("frozen", "online", "sliding", "ecdf")


class OnlinePart(Protocol):
    """A part that learns from every event that it scores."""

    def score_learn_traced(self, X: Floats) -> tuple[Floats, "Trail | None"]: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None: ...
    def copy(self) -> Self: ...


Part = TypeVar("Part", bound=OnlinePart)


def parts_of(sliding: SlidingForest | None, ecdf: RollingEcdf | None) -> tuple[str, ...]:
    """The names of an ensemble's parts, in order.

    >>> parts_of(None, RollingEcdf(3))
    ('frozen', 'online', 'ecdf')
    """
    there = {"frozen": True, "online": True, "sliding": sliding is not None, "ecdf": ecdf is not None}
    return tuple(name for name in PARTS if there[name])


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


def lead_of(forest: FrozenForest) -> float:
    """How far beyond a forest the online parts must go to be heard: two spreads if labels made it, else not at all."""
    return LABELLED_LEAD if forest.kind == "classifier" else 0.0


class Trail(Protocol):
    """What a part that learns keeps of a batch, to tell afterwards which features made its scores."""

    def contributions(self, rows: NDArray[np.int64]) -> Floats:
        """float64[k, f] of k rows that it scored: what each feature added, positive = towards anomaly, NaN = silent."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One row an event; higher is always more anomalous.

    score float64[n] in [0, 1) (NaN while the ensemble is still warming up); combined float64[n], the value behind it;
    raw and z float64[n, p] by the ensemble's `parts` (NaN = the part is silent); missing bool[n, f], the values that
    were imputed; alarms bool[n, 2], which of `threshold.SEVERITIES` the event is of.
    trails: by part, for `Ensemble.contributions`; place int64[n], each event's row in them, -1 if nothing learned it.
    shadow: what another model, that only looks on, says of the same events.
    """

    score: Floats
    combined: Floats
    raw: Floats
    z: Floats
    missing: NDArray[np.bool_]
    trails: Mapping[str, Trail] = field(default_factory=dict)
    place: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    alarms: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, len(SEVERITIES)), np.bool_))
    shadow: "Scores | None" = None


class Ensemble:
    """Forest, online parts, combiner and ranker of one partition. Owns all but the forest and the reference.

    `parts` names the parts it has, in the order of the columns of `raw` and `z`; the combiner has a row for each.
    """

    def __init__(
        self,
        forest: FrozenForest,
        halfspace: HalfSpaceTrees,
        reference: Reference,
        combiner: Combiner,
        ranker: Ranker,
        thresholds: Thresholds,
        sliding: SlidingForest | None = None,
        ecdf: RollingEcdf | None = None,
    ) -> None:
        self.parts = parts_of(sliding, ecdf)
        self.forest = forest
        self.halfspace = halfspace
        self.reference = reference
        self.combiner = combiner
        self.ranker = ranker
        self.thresholds = thresholds
        self.sliding = sliding
        self.ecdf = ecdf
        self.rules = rule_columns(halfspace.features)

    def score_learn(self, matrix: Floats) -> Scores:
        """Score the rows of float64[n, f] (NaN = missing), each before it is learned, in order.

        A row that breaks a rule (`rules`) scores above all that break none, and isn't learned: of the parts, only
        `frozen` speaks.
        """
        broken = broken_rules(matrix, self.rules)
        kept = np.flatnonzero(broken == 0)
        if len(kept) == len(matrix):
            scores = self._score_learn(matrix)
            return replace(scores, alarms=self.thresholds.alarms(scores.combined))
        filled, missing = self.reference.fill(matrix)
        score, combined = rule_scores(broken)
        raw, z = np.full((2, len(matrix), len(self.parts)), np.nan)
        raw[:, 0] = self.forest.anomaly(filled)
        valid = self._score_learn(matrix[kept])
        score[kept], combined[kept], raw[kept], z[kept] = valid.score, valid.combined, valid.raw, valid.z
        place = np.full(len(matrix), -1)
        place[kept] = valid.place
        return Scores(score, combined, raw, z, missing, valid.trails, place, self.thresholds.alarms(combined))

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
        frozen = self.forest.anomaly(seen)
        traced = [one.score_learn_traced(filled) for one in self._learners().values()]
        online = [scores for scores, _ in traced]
        heard = np.column_stack([evidence(self.forest, frozen), *online])
        combined, z = self.combiner.combine(heard, lead_of(self.forest))
        raw = np.column_stack([frozen, *online])
        trails = {part: trail for part, (_, trail) in zip(self.parts[1:], traced, strict=True) if trail is not None}
        return Scores(self.ranker.rank(combined), combined, raw, z, missing, trails, np.arange(len(matrix)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What events have taught it, as copies: what a checkpoint keeps beside the model's id."""
        groups: dict[str, Mapping[str, NDArray[Any]]] = {
            **{name: part.state() for name, part in self._learners().items()},
            "combiner": self.combiner.to_arrays(),
            "ranker": self.ranker.to_arrays(),
            "thresholds": self.thresholds.to_arrays(),
        }
        return {f"{group}.{name}": array for group, own in groups.items() for name, array in own.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave, of the same model. Raises `ModelError`, and then nothing has changed."""
        names = (*self._learners(), "combiner", "ranker", "thresholds")
        groups: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in names}
        for name, array in arrays.items():
            group, _, own = name.partition(".")
            if group in groups:
                groups[group][own] = array
        combiner = Combiner.from_arrays(groups["combiner"], len(self.parts))
        ranker, thresholds = Ranker.from_arrays(groups["ranker"]), Thresholds.from_arrays(groups["thresholds"])
        sliding = self.sliding and _restored(self.sliding, groups["sliding"])
        ecdf = self.ecdf and _restored(self.ecdf, groups["ecdf"])
        self.halfspace.restore(groups["halfspace"])  # the last that can fail
        self.sliding, self.ecdf = sliding, ecdf
        self.combiner, self.ranker, self.thresholds = combiner, ranker, thresholds

    def _learners(self) -> dict[str, OnlinePart]:
        """The parts that learn, by the names of their arrays, in the order of their columns."""
        known: dict[str, OnlinePart | None] = {"halfspace": self.halfspace, "sliding": self.sliding, "ecdf": self.ecdf}
        return {name: part for name, part in known.items() if part is not None}


def _restored(part: Part, state: Mapping[str, NDArray[Any]]) -> Part:
    twin = part.copy()
    twin.restore(state)
    return twin
