"""Behavioural features: what a session or payment looks like, and how far that is from what its user usually does.

FEATURES, in order (UNITS beside it):

- the 17 NUMBERS as they are, infinite ones missing;
- `<category>_rarity` of the six CATEGORIES, bits: log2((total + 1) / (count + 1)) of the value in the partition so far;
- `hour_of_day`, UTC;
- `clicks_per_second`, `mouse_per_second`, `amount_per_second` of the time on the page, at least 1 s;
- `hour_distance` from the user's habitual hours, 0 to 2;
- `events_1h`, `events_24h`: the user's events so far, decayed with these half-lives;
- `log_seconds_since_last`: ln(1 + s) since the user's last event, 0 for a late one;
- `<number>_z`: the eight TRACKED numbers against the user's own mean and standard deviation, clipped to ±20;
- `transaction_amount_ratio`, `time_on_page_ratio` to the user's own mean, clipped to ±1000;
- `new_device`, `new_city`, `new_browser`: 1 if not among the user's last eight distinct values.

Missing (NaN) is what is made of a null, and, of an event without a user, whatever needs one. A user with fewer than
three observations gets neutral values: hour_distance and z 0, ratio 1. Ids are keys and never features.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..entities import LIFETIME, Entities, grown
from ..errors import ModelError
from ..keyed import MAX_COUNT, KeyedState, read_array
from .behaviour_kernel import (
    CATEGORIES,
    FEATURES,
    HUGE,
    LAST_TIME,
    NUMBERS,
    PACES,
    TRACKED,
    UNITS,
    USER,
    VALUES_KEPT,
    behaviour_rows,
)

__all__ = ["CATEGORIES", "FEATURES", "NUMBERS", "SESSION", "TRACKED", "UNITS", "BehaviourFeatures"]

#: The features that a session has by itself, whatever came before it: where in FEATURES.
SESSION = tuple(FEATURES.index(name) for name in (*NUMBERS, "hour_of_day", *PACES))

VALUES_CAPACITY = len(CATEGORIES) * VALUES_KEPT  # 0.9 MB when full

# What a saved user may hold; wider than learning can reach by rounding, narrow enough that nothing overflows later.
_USER_BOUNDS: dict[str, tuple[float, float]] = {
    "last_time": (-LAST_TIME, LAST_TIME),
    "rate": (0.0, MAX_COUNT),
    "timed": (0, MAX_COUNT),
    "hour": (-2.0, 2.0),
    "seen": (0, MAX_COUNT),
    "mean": (-2 * HUGE, 2 * HUGE),
    "variance": (0.0, 10 * HUGE * HUGE),
    "recent": (0, 2**64 - 1),  # any hash
}


class BehaviourFeatures:
    """The behavioural features of one partition, and the state they need: at most `capacity` users of about 460 bytes.

    The least recently seen user is forgotten first, and is a new one on coming back; unless whoever runs this keeps the
    users elsewhere and admits every batch to `entities` before it is computed: then the capacity bounds memory alone.
    A partition's rows depend on its events and their order, never on how they are cut into batches. For `salt` see
    `KeyedState`, for `lifetime` `Entities`.

    >>> features = BehaviourFeatures()
    >>> numbers = np.full((4, len(NUMBERS)), np.nan)
    >>> numbers[:, NUMBERS.index("transaction_amount")] = [20.0, 25.0, 15.0, 80.0]
    >>> nothing = np.zeros((4, len(CATEGORIES)), np.uint64)
    >>> matrix = features.compute(np.full(4, 7, np.uint64), np.arange(4.0), numbers, nothing)
    >>> matrix[:, FEATURES.index("transaction_amount_ratio")].tolist()
    [1.0, 1.0, 1.0, 4.0]
    """

    def __init__(self, capacity: int = 200_000, *, salt: int = 0, lifetime: int = LIFETIME) -> None:
        self.entities = Entities(capacity, USER, lifetime, salt)
        self._values = KeyedState(VALUES_CAPACITY, salt)
        self._counts = np.zeros(self._values.room, np.int64)  # events with this value
        self._totals = np.zeros(len(CATEGORIES), np.int64)  # events with any value of this category
        self._kept = np.zeros(len(CATEGORIES), np.int64)  # values of this category that are counted

    @property
    def capacity(self) -> int:
        """Users remembered at most."""
        return self.entities.keys.capacity

    @property
    def tracked(self) -> int:
        """Users remembered now."""
        return self.entities.keys.tracked

    @property
    def evicted(self) -> int:
        """Users forgotten so far."""
        return self.entities.keys.evicted

    @property
    def state_bytes(self) -> int:
        """Memory of the state, bytes."""
        arrays = (self._counts, self._totals, self._kept)
        return self.entities.state_bytes + self._values.state_bytes + sum(array.nbytes for array in arrays)

    def compute(
        self,
        user: NDArray[np.uint64],
        time: NDArray[np.float64],
        numbers: NDArray[np.float64],
        categories: NDArray[np.uint64],
    ) -> NDArray[np.float64]:
        """The features float64[n, len(FEATURES)] of n events, each from the state before it; the state then learns it.

        user [n] and categories [n, 6] are hashes, 0 = null; time [n] is in seconds since the epoch, UTC; numbers
        [n, 17]. Raises ModelError for another shape or dtype.
        """
        n = len(user)
        inputs = (
            _contiguous(user, "user", np.uint64, (n,)),
            _contiguous(time, "time", np.float64, (n,)),
            _contiguous(numbers, "numbers", np.float64, (n, len(NUMBERS))),
            _contiguous(categories, "categories", np.uint64, (n, len(CATEGORIES))),
        )
        self.entities.reserve(n)
        self._counts = grown(self._counts, self._values.reserve(n * len(CATEGORIES)))
        matrix = np.empty((n, len(FEATURES)))
        values = (self._values.slots, self._counts, self._totals, self._kept)
        behaviour_rows(self.entities.slots, self.entities.rows, *values, *inputs, matrix)
        return matrix

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as plain arrays, the least recently seen user first: equal states give equal arrays."""
        users = self.entities.rows[self.entities.keys.order()]
        return {
            **self.entities.keys.to_arrays("users_"),
            **{f"users_{name}": np.ascontiguousarray(users[name]) for name in _USER_BOUNDS},
            **self.shared(),
        }

    def shared(self) -> dict[str, NDArray[Any]]:
        """What belongs to no single user, as plain arrays: how often each value of the categories was seen."""
        return {
            **self._values.to_arrays("values_"),
            "values_count": self._counts[self._values.order()],
            "categories_total": self._totals.copy(),
            "categories_kept": self._kept.copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, salt: int = 0) -> Self:
        """The state saved by `to_arrays`, copied. Raises ModelError, naming the array, if anything is amiss."""
        keys = KeyedState.from_arrays(arrays, "users_", salt)
        state = cls(keys.capacity, salt=salt)
        state.restore_shared(arrays)
        entities = state.entities
        entities.keys, entities.rows = keys, np.zeros(keys.room, USER)
        entities.seen, entities.changed = np.zeros(keys.room, np.int64), np.zeros(keys.room, np.bool_)
        for name, bounds in _USER_BOUNDS.items():
            rows = entities.rows[name][: keys.tracked]
            rows[:] = read_array(arrays, f"users_{name}", USER[name].base, rows.shape, *bounds)
        return state

    def restore_shared(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave, copied. Raises ModelError, naming the array, if anything is amiss."""
        values = KeyedState.from_arrays(arrays, "values_", int(self._values.slots.salt))
        if values.capacity != VALUES_CAPACITY:
            raise ModelError(f"should be {VALUES_CAPACITY}: save the state again", where="values_capacity")
        counts = np.zeros(values.room, np.int64)
        counts[: values.tracked] = read_array(arrays, "values_count", np.int64, (values.tracked,), 0, MAX_COUNT)
        totals = read_array(arrays, "categories_total", np.int64, (len(CATEGORIES),), 0, MAX_COUNT).copy()
        kept = read_array(arrays, "categories_kept", np.int64, (len(CATEGORIES),), 0, VALUES_KEPT).copy()
        if kept.sum() != values.tracked:
            raise ModelError(f"should add up to {values.tracked}: save the state again", where="categories_kept")
        self._values, self._counts, self._totals, self._kept = values, counts, totals, kept


def _contiguous(array: NDArray[Any], name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array as the kernel was compiled for: for another layout, or read-only, it would be compiled again."""
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        expected = f"{np.dtype(dtype)}{list(shape)}"
        raise ModelError(f"is {array.dtype}{list(array.shape)}, expected {expected}", where=name)
    return np.require(array, requirements=["C", "A", "W"])
