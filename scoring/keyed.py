"""Keyed state: which slot of the state arrays belongs to which key, with a hard cap and least-recently-used eviction.

A feature kernel keeps its numbers in arrays of one row a slot, and asks for the slot event by event, inside its own
loop: a slot may change hands within a batch, so slots looked up beforehand would make results depend on the batches.

    slot, fresh = touch(slots, key)     # fresh: the row is another key's leavings, clear it first

Keys are uint64 hashes. Key 0 means null and is never stored. Slots 0 to tracked - 1 are in use, without gaps, and which
slot a key gets says nothing: only the order of touches counts, so saved state is written in that order.

What was touched since some moment is always the newest end of that order. A checkpoint of changes therefore needs one
mark, the newest slot already saved, and "evict only what is saved" is one comparison in `touch`, where the oldest goes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from .errors import ModelError

MAX_CAPACITY = 1 << 29  # slots are int32, and the table of 2 to 4 times as many must be counted in int32 as well
FIRST_ROOM = 1024  # slots to start with: 24 KB, so that a small run stays small
MAX_COUNT = 1 << 62  # counters above this are refused on loading: 2^62 events more still fit int64
NOWHERE = np.int64(-1)  # no slot: an empty place in the table, both ends of the list

TRACKED, EVICTED = 0, 1  # the places in Slots.counts

# Multipliers of SplitMix64's finaliser, a bijection that spreads any key's bits over all 64 (Steele, Lea & Flood 2014).
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


# The nodes form a ring from the least to the most recently touched slot and, by way of NOWHERE, around. Index NOWHERE,
# -1, is the last element: its `newer` is the oldest slot, its `older` the newest, and no case at the ends is special.
NODE = np.dtype([("key", np.uint64), ("older", np.int32), ("newer", np.int32)])


class Slots(NamedTuple):
    """The arrays of a keyed state, as kernels take them; S slots, a table of T places, T a power of two >= 2 S."""

    table: NDArray[np.int32]  # [T] a slot, or NOWHERE; open addressing, linear probing, never more than half full
    nodes: NDArray[np.void]  # [S + 1] NODE
    counts: NDArray[np.int64]  # [2] TRACKED, EVICTED
    salt: np.uint64  # mixed into the place in the table, so that chosen keys can't be made to crowd there


@njit(cache=True, nogil=True)
def home(slots: Slots, key: np.uint64) -> np.int64:
    """Where the search for a key starts in the table."""
    mixed = key ^ slots.salt
    mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
    mixed = mixed ^ (mixed >> _SHIFT_3)
    return np.int64(mixed & np.uint64(len(slots.table) - 1))


@njit(cache=True, nogil=True)
def _place(slots: Slots, key: np.uint64) -> np.int64:
    """The key's place in the table, or the empty one where it would go. Ends, because half of the table is empty."""
    at = home(slots, key)
    while slots.table[at] != NOWHERE and slots.nodes[slots.table[at]].key != key:
        at = (at + 1) & (len(slots.table) - 1)
    return at


@njit(cache=True, nogil=True)
def find(slots: Slots, key: np.uint64) -> np.int64:
    """The key's slot, or NOWHERE; touches nothing."""
    return np.int64(slots.table[_place(slots, key)])


@njit(cache=True, nogil=True)
def add(slots: Slots, key: np.uint64) -> np.int64:
    """A new slot for a key that has none; NOWHERE if the key is null or there is no room."""
    tracked = np.int64(slots.counts[TRACKED])
    if key == 0 or tracked == len(slots.nodes) - 1:
        return NOWHERE
    slots.counts[TRACKED] = tracked + 1
    _settle(slots, tracked, key)
    return tracked


@njit(cache=True, nogil=True)
def touch(slots: Slots, key: np.uint64) -> tuple[np.int64, bool]:
    """The key's slot, now the most recently touched, and whether it was given out just now; (NOWHERE, False) for null.

    With all slots in use the least recently touched key is evicted. The caller has called `KeyedState.reserve`, so that
    "all slots" are as many as the capacity allows and the batch can need.
    """
    if key == 0:
        return NOWHERE, False
    slot = find(slots, key)
    if slot != NOWHERE:
        if slot != slots.nodes[NOWHERE].older:
            _unlink(slots, slot)
            _link_newest(slots, slot)
        return slot, False
    slot = add(slots, key)
    if slot == NOWHERE:
        slot = np.int64(slots.nodes[NOWHERE].newer)
        _clear_place(slots, _place(slots, slots.nodes[slot].key))
        _unlink(slots, slot)
        slots.counts[EVICTED] += 1
        _settle(slots, slot, key)
    return slot, True


@njit(cache=True, nogil=True)
def _settle(slots: Slots, slot: np.int64, key: np.uint64) -> None:
    slots.table[_place(slots, key)] = slot
    slots.nodes[slot].key = key
    _link_newest(slots, slot)


@njit(cache=True, nogil=True)
def _link_newest(slots: Slots, slot: np.int64) -> None:
    node, end = slots.nodes[slot], slots.nodes[NOWHERE]
    node.older, node.newer = end.older, NOWHERE
    slots.nodes[end.older].newer = slot
    end.older = slot


@njit(cache=True, nogil=True)
def _unlink(slots: Slots, slot: np.int64) -> None:
    node = slots.nodes[slot]
    slots.nodes[node.older].newer = node.newer
    slots.nodes[node.newer].older = node.older


@njit(cache=True, nogil=True)
def _clear_place(slots: Slots, hole: np.int64) -> None:
    """Empty a place and move back what was probed past it: no tombstones (Knuth, TAOCP 3, 6.4, algorithm R)."""
    last = len(slots.table) - 1
    at = (hole + 1) & last
    while slots.table[at] != NOWHERE:
        start = home(slots, slots.nodes[slots.table[at]].key)
        if ((at - start) & last) >= ((at - hole) & last):  # its search passes the hole, so it may move there
            slots.table[hole] = slots.table[at]
            hole = at
        at = (at + 1) & last
    slots.table[hole] = NOWHERE


@njit(cache=True, nogil=True)
def _add_all(slots: Slots, keys: NDArray[np.uint64]) -> bool:
    for key in keys:
        if key == 0 or find(slots, key) != NOWHERE:
            return False
        add(slots, key)
    return True


@njit(cache=True, nogil=True)
def _fill_table(slots: Slots) -> None:
    for slot in range(slots.counts[TRACKED]):
        slots.table[_place(slots, slots.nodes[slot].key)] = slot


@njit(cache=True, nogil=True)
def _list_order(slots: Slots, order: NDArray[np.int64]) -> None:
    slot = NOWHERE
    for position in range(len(order)):
        slot = np.int64(slots.nodes[slot].newer)
        order[position] = slot


class KeyedState:
    """Slots for at most `capacity` keys; grows by doubling up to that, then the least recently touched key is evicted.

    `salt`, any uint64, moves keys about in the hash table and changes no result: give a secret one where strangers
    choose the keys. Raises ModelError if the capacity is out of range.

    >>> state = KeyedState(capacity=2)
    >>> state.reserve(3)
    2
    >>> [int(touch(state.slots, np.uint64(key))[0]) for key in (7, 8, 7, 9)]  # 9 takes over from 8
    [0, 1, 0, 1]
    >>> state.tracked, state.evicted, state.to_arrays()["keys"].tolist()
    (2, 1, [7, 9])
    """

    def __init__(self, capacity: int, salt: int = 0) -> None:
        if not 1 <= capacity <= MAX_CAPACITY:
            raise ModelError(f"is {capacity}: choose 1 to {MAX_CAPACITY} keys", where="capacity")
        self.capacity = capacity
        self.slots = _empty_slots(min(capacity, FIRST_ROOM), np.uint64(salt))

    @property
    def tracked(self) -> int:
        """Keys that have a slot now."""
        return int(self.slots.counts[TRACKED])

    @property
    def evicted(self) -> int:
        """Keys that lost their slot so far."""
        return int(self.slots.counts[EVICTED])

    @property
    def room(self) -> int:
        """Slots that exist, used or not: how many rows the arrays beside this state must have."""
        return len(self.slots.nodes) - 1

    @property
    def state_bytes(self) -> int:
        """Memory of the arrays, bytes."""
        return sum(array.nbytes for array in self.slots)

    def reserve(self, extra: int) -> int:
        """Make room for `extra` more keys, as far as the capacity goes; returns the number of slots there are now."""
        wanted = min(self.tracked + extra, self.capacity)
        if wanted > self.room:
            old, used = self.slots, self.tracked
            self.slots = _empty_slots(min(max(wanted, 2 * self.room), self.capacity), old.salt)
            self.slots.nodes[:used], self.slots.nodes[NOWHERE] = old.nodes[:used], old.nodes[NOWHERE]
            self.slots.counts[:] = old.counts
            _fill_table(self.slots)
        return self.room

    def order(self) -> NDArray[np.int64]:
        """The slots in use, int64[tracked], the least recently touched first."""
        order = np.empty(self.tracked, np.int64)
        _list_order(self.slots, order)
        return order

    def to_arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Plain arrays: keys uint64[tracked], the least recently touched first; capacity and evicted, int64[].

        Rows that go with the keys must be saved in the same order: `rows[state.order()]`.
        """
        return {
            f"{prefix}keys": self.slots.nodes["key"][self.order()],
            f"{prefix}capacity": np.array(self.capacity, np.int64),
            f"{prefix}evicted": np.array(self.evicted, np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], prefix: str = "", salt: int = 0) -> Self:
        """The state saved by `to_arrays`; slot i now belongs to the i-th key. Raises ModelError if it is damaged."""
        keys = read_array(arrays, f"{prefix}keys", np.uint64, (None,))
        capacity = int(read_array(arrays, f"{prefix}capacity", np.int64, (), least=1, most=MAX_CAPACITY))
        evicted = int(read_array(arrays, f"{prefix}evicted", np.int64, (), least=0, most=MAX_COUNT))
        if len(keys) > capacity:
            raise ModelError(f"holds more than {capacity} keys: save the state again", where=f"{prefix}keys")
        state = cls(capacity, salt)
        state.reserve(len(keys))
        if not _add_all(state.slots, keys.copy()):
            raise ModelError("holds a key twice, or the null key 0: save the state again", where=f"{prefix}keys")
        state.slots.counts[EVICTED] = evicted
        return state


def read_array(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    dtype: DTypeLike,
    shape: tuple[int | None, ...],
    least: float | None = None,
    most: float | None = None,
) -> NDArray[Any]:
    """A saved array, if it is what it should be: this dtype and shape (None: any length), values in least..most.

    Raises ModelError, with the array's name, if it isn't. Bounds refuse NaN, too.
    """
    array = arrays.get(name)
    if not isinstance(array, np.ndarray):
        raise ModelError("is missing or no array: save the state again", where=name)
    expected_shape = tuple(have if want is None else want for want, have in zip(shape, array.shape, strict=False))
    if array.dtype != np.dtype(dtype) or array.ndim != len(shape) or array.shape != expected_shape:
        expected = f"{np.dtype(dtype)}{list(shape)}".replace("None", "n")
        raise ModelError(f"is {array.dtype}{list(array.shape)}, expected {expected}: save the state again", where=name)
    if (least is not None and not (array >= least).all()) or (most is not None and not (array <= most).all()):
        raise ModelError(f"holds a value outside {least} to {most}: save the state again", where=name)
    return array


def _empty_slots(room: int, salt: np.uint64) -> Slots:
    nodes = np.zeros(room + 1, NODE)
    nodes[NOWHERE] = (0, NOWHERE, NOWHERE)
    table = np.full(1 << max(1, (2 * room - 1).bit_length()), NOWHERE, np.int32)
    return Slots(table, nodes, np.zeros(2, np.int64), salt)
