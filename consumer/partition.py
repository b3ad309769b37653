"""One partition's detector: its features' memory and its ensemble. Columns go in, scored events come out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schemas.columns import Columns
from ..schemas.errors import DecodeError
from ..scoring.ensemble import Ensemble, Scores
from ..scoring.entities import Keys
from ..scoring.errors import ModelError
from ..scoring.explain import Explanations
from ..scoring.keyed import MAX_COUNT, read_array
from ..scoring.model import Model
from ..scoring.words import noun_of
from .address import Address
from .batch import Batch
from .checkpoint import Begun, CheckpointError, Saved
from .inflight import deaths_at, quarantined
from .monitor import Bools, Monitor
from .rule import Rule
from .streams.base import Floats, Ints, Stream


@dataclass(frozen=True, slots=True)
class Featured:
    """The scorable events of a batch: `rows` int64[k] point into `columns`, `matrix` is float64[k, f].

    nights: int64[k], in days since 1970-01-01.
    """

    columns: Columns
    rows: Ints
    nights: Ints
    matrix: Floats
    unscored: dict[str, int]


@dataclass(slots=True)
class Shadow:
    """A model that looks on: it scores and learns as the other does, and decides nothing."""

    model: Model
    ensemble: Ensemble
    renewed: bool = False  # the checkpoint had another one, or none: it starts anew at the fence

    @classmethod
    def of(cls, model: Model) -> "Shadow":
        """As training left it."""
        return cls(model, model.ensemble())


class Partition:
    """State of one partition between two assignments. Not shared: two partitions know nothing of each other.

    `fence` is what Redis holds of it; `learned`, the offset up to which all is learned and, beyond the fence's offset,
    committed. In between, `ahead` says that the memory has learned a batch whose commit is still to come.
    """

    def __init__(
        self, address: Address, stream: Stream, model: Model, begun: Begun, shadow: Model | None = None
    ) -> None:
        self.address = address
        self.name = address.name
        self.stream = stream
        self.model = model
        self.model_id = model.id
        self.state = stream.open()
        self.ensemble = model.ensemble()
        self.shadow = Shadow.of(shadow) if shadow else None
        self.monitor = Monitor()
        self.fence = begun.fence
        self.learned = begun.fence.learned
        self.ahead = False
        self.renewed = False  # the checkpoint was another model's: the ensemble starts anew at the fence
        self.deaths = deaths_at(begun.inflight, begun.fence.offset)  # of workers, with what comes next in flight
        self.marked = False  # the first batch in flight leaves a mark
        self.quarantine = quarantined(begun.quarantine)
        self.elsewhere = begun.fence.entities > 0  # whether Redis may know entities that aren't in memory
        self.evicted_told = 0  # how many of the forgotten entities the metrics know of
        self.saved_at = 0.0  # when the last checkpoint was, by the worker's clock
        self.sweep_from = 0

    @property
    def labels(self) -> tuple[str, str]:
        """Topic and number, as metrics tell them."""
        return self.address.topic, str(self.address.number)

    @property
    def layout(self) -> str:
        """Names what is remembered: another release may remember something else under the same name."""
        entities = self.state.entities
        rows = str(entities.rows.dtype.descr) if entities else ""
        text = "\n".join((self.stream.name, *self.stream.features, rows))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def shadow_id(self) -> str:
        """The id of the model that looks on, "" = none."""
        return self.shadow.model.id if self.shadow else ""

    def follows(self, model: Model, shadow: Model | None) -> bool:
        """Whether these are the models that it goes on with; else it has to take them up at the fence."""
        fresh = self.renewed or (self.shadow is not None and self.shadow.renewed)
        return not fresh and (self.model_id, self.shadow_id) == (model.id, shadow.id if shadow else "")

    def take_up(self, model: Model, shadow: Model | None) -> bool:
        """Go on with these models, those that are new as training left them. Whether another one scores from here on.

        To be followed by a checkpoint at once: then it has happened at the fence and nowhere else.
        """
        switched = self.renewed or model.id != self.model_id
        if switched:
            self.model, self.model_id, self.ensemble, self.renewed = model, model.id, model.ensemble(), False
            self.monitor.renew(self.ensemble.thresholds)
        if shadow is None:
            self.shadow = None
        elif self.shadow is None or self.shadow.renewed or self.shadow.model.id != shadow.id:
            self.shadow = Shadow.of(shadow)
        return switched

    def saved(self) -> Saved:
        """What a checkpoint keeps, beside the entities."""
        events = self.state.entities.events if self.state.entities else 0
        shared = {f"state.{name}": array for name, array in self.state.shared().items()}
        arrays = {**self.ensemble.to_arrays(), **shared, "events": np.array(events, np.int64)}
        arrays |= {f"monitor.{name}": array for name, array in self.monitor.to_arrays().items()}
        if self.shadow:
            arrays |= {f"shadow.{name}": array for name, array in self.shadow.ensemble.to_arrays().items()}
        return Saved(arrays, self.model_id, self.layout, self.shadow_id)

    def restore(self, saved: Saved, where: str) -> None:
        """Go on from a checkpoint; `renewed` if it is of another model, whose ensemble then can't be gone on with.

        Raises `CheckpointError` for one of another layout, or with values that no run leads to.
        """
        if saved.layout != self.layout:
            raise CheckpointError(where, "it was made by a release with other features")
        try:
            if self.state.entities:
                self.state.entities.events = int(read_array(saved.arrays, "events", np.int64, (), 0, MAX_COUNT))
            self.state.restore(_part(saved.arrays, "state."))
            self.renewed = saved.model != self.model_id
            if not self.renewed:
                self.ensemble.restore(saved.arrays)
                self.monitor.restore(_part(saved.arrays, "monitor."))
            if self.shadow:
                self.shadow.renewed = saved.shadow != self.shadow_id
                if not self.shadow.renewed:
                    self.shadow.ensemble.restore(_part(saved.arrays, "shadow."))
        except ModelError as error:
            raise CheckpointError(where, str(error)) from error

    def missing(self, columns: Columns) -> Keys:
        """Keys of a batch whose entities are perhaps in Redis, but not here."""
        entities = self.state.entities
        if entities is None:
            return np.zeros(0, np.uint64)
        self.elsewhere = self.elsewhere or entities.keys.evicted > 0
        missing = entities.missing(self.state.keys(columns))
        return missing if self.elsewhere else missing[:0]

    @property
    def unsaved(self) -> bool:
        """Whether a checkpoint would hold anything new."""
        return self.learned != self.fence.learned

    def touchable(self, batch: Batch) -> list[bytes | None]:
        """The batch's values without those in quarantine, which nothing may look at."""
        if not self.quarantine:
            return batch.values
        return [
            None if offset in self.quarantine else value
            for offset, value in zip(batch.offsets, batch.values, strict=True)
        ]

    def verdict(self, offset: int, error: DecodeError) -> DecodeError:
        """Why a message is dead: one in quarantine was never looked at."""
        return DecodeError("crash", "it ends a process that reads it") if offset in self.quarantine else error

    def fits(self, events: int) -> bool:
        """Whether so many events can be taken in without a checkpoint first."""
        return self.state.entities is None or self.state.entities.fits(events * self.state.keys_per_event)

    def check(self, columns: Columns) -> tuple[Columns, Ints, list[tuple[int, DecodeError]]]:
        """The records whose values can be right, where they stood, and the others with what is wrong."""
        faults = self.stream.check(columns)
        if not faults:
            return columns, np.arange(len(columns)), faults
        good = np.ones(len(columns), np.bool_)
        good[[row for row, _ in faults]] = False
        kept = np.flatnonzero(good)
        return columns.take(kept), kept, faults

    def features(self, columns: Columns) -> Featured:
        """Features of valid records, in order; learns them."""
        if self.state.entities is not None:
            self.state.entities.admit(self.state.keys(columns))
        found = self.state.features(columns)
        nights = self.stream.nights(columns)[found.rows]
        return Featured(columns, found.rows, nights, found.matrix, dict(found.unscored))

    def score(self, featured: Featured) -> Scores:
        """Scores of the scorable events, each before it is learned, in order."""
        scores = self.ensemble.score_learn(featured.matrix)
        return replace(scores, shadow=self.shadow.ensemble.score_learn(featured.matrix)) if self.shadow else scores

    def heed(self, rules: tuple[Rule, ...], partitions: int) -> None:
        """From the next event on, judge by these rules; `partitions` share a night's alerts."""
        self.monitor.heed(rules, self.ensemble.thresholds, partitions)

    def judge(self, featured: Featured, scores: Scores) -> Bools:
        """bool[k, rules]: which events are above the bars of the rules, each judged before it moves a bar."""
        return self.monitor.judge(scores, featured.nights)

    def explain(self, matrix: Floats, scores: Scores, chosen: Ints) -> Explanations:
        """Why the chosen events of a batch float64[n, f] have the scores that they have."""
        return Explanations(
            matrix[chosen],
            self.ensemble.reference,
            self.stream.features,
            self.stream.units,
            noun_of(self.stream.name),
            self.ensemble.contributions(matrix, scores, chosen),
        )


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
