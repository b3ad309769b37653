"""Rows of state, one a key: a bounded cache of what a caller keeps elsewhere, and what changed since it was kept.

Before a batch the caller asks which of its keys are missing here, puts in what it has kept of them, and admits the
batch. From then on every key of the batch has its slot, so that feature kernels find them all and nothing is evicted in
between. What was touched since the last `saved` is never evicted: keep it elsewhere first.

    if not entities.fits(len(keys)): keep(*entities.changes()); entities.saved()
    missing = entities.missing(keys)
    entities.put(*kept(missing))
    entities.admit(keys)

An entity that hasn't been seen for `lifetime` events of its partition is a new one on coming back. Counted in events
and not in time, this needs no clock, no wrong date can bring it about, and at most `lifetime` entities are ever alive.
"""

from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from .errors import ModelError
from .keyed import NOWHERE, KeyedState, Slots, find, touch

Keys = NDArray[np.uint64]
Ints = NDArray[np.int64]
Rows = NDArray[np.void]
Scalar = TypeVar("Scalar", bound=np.generic)

# A partition's live entities at most: at 460 bytes each 2.3 GB wherever they are kept.
LIFETIME = 5_000_000


class Entities:
    """At most `capacity` keys in memory with a row of `dtype` each, all zero for a new key.

    `events` counts the events admitted so far; `seen[slot]` is the number of the last one of that key.

    >>> entities = Entities(4, np.dtype([("visits", np.int64)]), lifetime=100)
    >>> batch = np.array([7, 8, 7], np.uint64)
    >>> entities.missing(batch).tolist()
    [7, 8]
    >>> entities.put(np.array([8], np.uint64), np.array([0]), np.array([(41,)], entities.rows.dtype))
    >>> entities.admit(batch)
    >>> keys, seen, rows = entities.changes()
    >>> keys.tolist(), seen.tolist(), rows["visits"].tolist()
    ([8, 7], [1, 2], [41, 0])
    """

    def __init__(self, capacity: int, dtype: DTypeLike, lifetime: int = LIFETIME, salt: int = 0) -> None:
        if lifetime < 1:
            raise ModelError(f"is {lifetime}: choose 1 event or more", where="lifetime")
        self.lifetime = lifetime
        self.keys = KeyedState(capacity, salt)
        self.rows: Rows = np.zeros(self.keys.room, dtype)
        self.seen = np.zeros(self.keys.room, np.int64)
        self.changed = np.zeros(self.keys.room, np.bool_)
        self.events = 0
        self.changes_held = 0

    @property
    def slots(self) -> Slots:
        """The slots, as kernels take them. They move when room is reserved."""
        return self.keys.slots

    @property
    def state_bytes(self) -> int:
        """Memory of the arrays, bytes."""
        return self.keys.state_bytes + self.rows.nbytes + self.seen.nbytes + self.changed.nbytes

    def reserve(self, extra: int) -> None:
        """Room for `extra` more keys, as far as the capacity goes."""
        room = self.keys.reserve(extra)
        if room > len(self.rows):
            self.rows = grown(self.rows, room)
            self.seen = grown(self.seen, room)
            self.changed = grown(self.changed, room)

    def fits(self, events: int) -> bool:
        """Whether a batch of so many events can be admitted without evicting a change."""
        return self.changes_held + events <= self.keys.capacity

    def missing(self, keys: Keys) -> Keys:
        """The distinct keys of a batch that aren't here. The others become the newest, so `put` evicts none of them."""
        found = np.empty(len(keys), np.bool_)
        _touch_known(self.slots, keys, found)
        return np.asarray(np.unique(keys[~found & (keys != 0)]), np.uint64)

    def put(self, keys: Keys, seen: Ints, rows: Rows) -> None:
        """Take in entities that were kept elsewhere: as they were, not as changes."""
        self.reserve(len(keys))
        slots = np.empty(len(keys), np.int64)
        _give_slots(self.slots, keys, slots)
        self.rows[slots], self.seen[slots], self.changed[slots] = rows, seen, False

    def admit(self, keys: Keys) -> None:
        """Give every key of a batch, in the order of its events, a slot; new and outlived ones begin with a zero row.

        Raises ModelError if the batch doesn't fit (`fits`), or is longer than a life.
        """
        if len(keys) > self.lifetime:  # else an entity could be outlived between two of its events in one batch
            raise ModelError(f"{len(keys)} events in a batch, a lifetime is {self.lifetime}", where="entities")
        if not self.fits(len(keys)):
            raise ModelError(f"{len(keys)} events don't fit beside {self.changes_held} changes", where="entities")
        self.reserve(len(keys))
        first = np.zeros(len(keys), np.bool_)
        slots = np.empty(len(keys), np.int64)
        self.changes_held += _admit(self.slots, self.seen, self.changed, keys, self.events, self.lifetime, slots, first)
        self.rows[slots[first]] = np.zeros((), self.rows.dtype)
        self.events += len(keys)

    def changes(self) -> tuple[Keys, Ints, Rows]:
        """The keys touched since the last `saved`, the least recent first, with `seen` and copies of their rows."""
        order = self.keys.order()
        order = order[self.changed[order]]
        return self.slots.nodes["key"][order], self.seen[order], self.rows[order]

    def saved(self) -> None:
        """All changes are kept elsewhere now."""
        self.changed[:] = False
        self.changes_held = 0

    def outlived(self, seen: Ints) -> NDArray[np.bool_]:
        """Which entities, by their `seen`, can only come back as new ones."""
        return self.events - seen > self.lifetime


def grown(rows: NDArray[Scalar], room: int) -> NDArray[Scalar]:
    """These rows with zero ones after them, `room` in all."""
    longer = np.zeros(room, rows.dtype)
    longer[: len(rows)] = rows
    return longer


@njit(cache=True, nogil=True)
def _touch_known(slots: Slots, keys: Keys, found: NDArray[np.bool_]) -> None:
    for i in range(len(keys)):
        found[i] = keys[i] != 0 and find(slots, keys[i]) != NOWHERE
        if found[i]:
            touch(slots, keys[i])


@njit(cache=True, nogil=True)
def _give_slots(slots: Slots, keys: Keys, given: Ints) -> None:
    for i in range(len(keys)):
        given[i] = touch(slots, keys[i])[0]


@njit(cache=True, nogil=True)
def _admit(
    slots: Slots,
    seen: Ints,
    changed: NDArray[np.bool_],
    keys: Keys,
    event: int,
    lifetime: int,
    given: Ints,
    fresh: NDArray[np.bool_],
) -> int:
    """Slots of all keys; fresh[i]: its row must be cleared. Returns how many changed that hadn't before."""
    more = 0
    for i in range(len(keys)):
        slot, new = touch(slots, keys[i])
        given[i] = slot
        if slot == NOWHERE:
            continue
        fresh[i] = new or event + i - seen[slot] > lifetime
        if new or not changed[slot]:
            changed[slot] = True
            more += 1
        seen[slot] = event + i
    return more
