"""What a kind of stream has to say: what to read, what is wrong with a record, its key, its time, its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...schemas.columns import Columns, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.entities import Entities, Keys

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# By name ("jd", "band", …) lists of equal length, in order of time; None = not measured.
LightCurve = Mapping[str, Sequence[float | str | bool | None]]

SECONDS_A_DAY = 86_400.0
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Features:
    """The scorable events of a batch: `rows` int64[k] are their places in the columns, in order.

    matrix float64[k, f], NaN = missing; unscored counts the events left out, by reason.
    """

    rows: Ints
    matrix: Floats
    unscored: Mapping[str, int]


class State(Protocol):
    """Features of one partition's events, with whatever they remember from event to event.

    What is remembered of a single key stands in `entities`, if there are any; the rest is `shared`.
    """

    entities: Entities | None
    keys_per_event: int  # how many of `keys` an event takes

    @property
    def state_bytes(self) -> int:
        """Memory that all of it takes."""

    def keys(self, columns: Columns) -> Keys:
        """uint64[n * keys_per_event]: whose entities each record needs, record by record, 0 = nobody's."""

    def features(self, columns: Columns) -> Features:
        """Features of valid records, in order, each from what came before it; then learn them."""

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """What belongs to no single key, as plain arrays."""

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave. Raises `ModelError` if anything is amiss."""


class Stateless:
    """The parts of a `State` that remembers nothing."""

    entities: Entities | None = None
    keys_per_event = 1
    state_bytes = 0

    def keys(self, columns: Columns) -> Keys:
        """Nobody's."""
        return np.zeros(len(columns), np.uint64)

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Nothing to restore."""


class Stream(Protocol):
    """One kind of stream."""

    name: str
    wanted: Wanted
    framing: Choice  # the default; a topic may be set to another
    key_field: str  # the text or integer among `wanted` that names the object; `rekey` keys by it
    features: tuple[str, ...]
    units: tuple[str, ...]
    unscored_reasons: tuple[str, ...]
    described: tuple[str, ...]  # the names in what `describe` gives

    def schema(self) -> Mapping[str, Any] | None:
        """The pinned schema of the framing "plain"; None where messages bring their own."""

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Records that decoded, but whose values can't be right: (row, why), in order."""

    def open(self) -> State:
        """A fresh state for one partition."""

    def nights(self, columns: Columns) -> Ints:
        """int64[n]: the night of each record, in days since 1970-01-01."""

    def object_id(self, columns: Columns, row: int) -> str:
        """Whose row on the board this is."""

    def event_id(self, columns: Columns, row: int) -> str:
        """What tells this event from every other; breaks ties."""

    def describe(self, columns: Columns, row: int) -> Mapping[str, float | int | str | None]:
        """A few fields of the record for people who look at the board."""

    def light_curve(self, columns: Columns, row: int) -> LightCurve | None:
        """The brightness over time that the record brings, for people who look at it; None if it brings none."""


def faults(*rules: tuple[NDArray[np.bool_], DecodeError]) -> list[tuple[int, DecodeError]]:
    """The first rule that each broken record breaks, from (broken bool[n], what it means) in order of importance."""
    first: dict[int, DecodeError] = {}
    for broken, error in rules:
        for row in np.flatnonzero(broken):
            first.setdefault(int(row), error)
    return sorted(first.items(), key=lambda item: item[0])


@lru_cache(maxsize=1_000)
def night_name(night: int) -> str:
    """The date at whose noon (or midnight, as the stream says) the night began.

    >>> night_name(20_778)
    '2026-11-21'
    """
    return (EPOCH + timedelta(days=int(night))).isoformat()
