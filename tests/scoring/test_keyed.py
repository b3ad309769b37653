"""Keyed state against an OrderedDict: the same slots, order and evictions, whatever happens in the hash table."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from skimstream.scoring.errors import ModelError
from skimstream.scoring.keyed import FIRST_ROOM, NOWHERE, KeyedState, add, find, home, touch


@njit(nogil=True)
def touch_all(slots: Any, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    out = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        out[i], _ = touch(slots, keys[i])
    return out


def touch_one(state: KeyedState, key: int) -> tuple[int, bool]:
    slot, fresh = touch(state.slots, np.uint64(key))
    return int(slot), fresh


class Reference:
    """Least recently touched first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.slots: OrderedDict[int, int] = OrderedDict()
        self.evicted = 0

    def touch(self, key: int) -> tuple[int, bool]:
        if key == 0:
            return -1, False
        if key in self.slots:
            self.slots.move_to_end(key)
            return self.slots[key], False
        slot = len(self.slots)
        if slot == self.capacity:
            slot = self.slots.popitem(last=False)[1]
            self.evicted += 1
        self.slots[key] = slot
        return slot, True


def crowding_keys(room: int, count: int) -> list[int]:
    """Keys whose search starts at the last two places of the table, or the first: their cluster wraps around."""
    slots = KeyedState(room).slots
    wanted = {len(slots.table) - 2, len(slots.table) - 1, 0}
    keys = (key for key in range(1, 1_000_000) if int(home(slots, np.uint64(key))) in wanted)
    return [next(keys) for _ in range(count)]


CROWD = crowding_keys(room=8, count=14)


def assert_sound(state: KeyedState, reference: Reference) -> None:
    slots = state.slots
    assert state.tracked == len(reference.slots) <= state.capacity
    assert state.evicted == reference.evicted
    assert slots.nodes["key"][state.order()].tolist() == list(reference.slots)
    assert sorted(slots.table[slots.table != NOWHERE].tolist()) == list(range(state.tracked))
    for key, slot in reference.slots.items():
        assert find(slots, np.uint64(key)) == slot


@settings(deadline=None, max_examples=150)
@given(
    capacity=st.integers(1, 8),
    keys=st.lists(st.one_of(st.just(0), st.sampled_from(CROWD), st.integers(1, 12), st.integers(1, 2**64 - 1))),
)
def test_every_touch_agrees_with_an_ordered_dict(capacity: int, keys: list[int]) -> None:
    state, reference = KeyedState(capacity), Reference(capacity)
    for key in keys:
        state.reserve(1)
        assert touch_one(state, key) == reference.touch(key)
        assert_sound(state, reference)


def test_eviction_within_one_cluster_keeps_every_other_key_findable() -> None:
    rng = np.random.default_rng(1)
    state, reference = KeyedState(8), Reference(8)
    starts = {int(home(state.slots, np.uint64(key))) for key in CROWD}
    assert starts == {14, 15, 0}, "the keys must crowd, or this test shows nothing"
    for key in rng.choice(CROWD, 3000).tolist():
        assert touch_one(state, key) == reference.touch(key)
        assert_sound(state, reference)
    assert state.evicted > 500


def test_growth_changes_nothing() -> None:
    keys = np.random.default_rng(2).integers(1, 6000, 20_000).astype(np.uint64)
    at_once, bit_by_bit, reference = KeyedState(5000), KeyedState(5000), Reference(5000)
    at_once.reserve(len(keys))
    rooms = {bit_by_bit.room}
    grown = []
    for batch in np.array_split(keys, 400):
        rooms.add(bit_by_bit.reserve(len(batch)))
        grown.append(touch_all(bit_by_bit.slots, batch))
    expected = [reference.touch(key)[0] for key in keys.tolist()]
    assert rooms == {FIRST_ROOM, 2 * FIRST_ROOM, 4 * FIRST_ROOM, 5000}
    assert np.concatenate(grown).tolist() == expected
    assert touch_all(at_once.slots, keys).tolist() == expected
    assert_sound(bit_by_bit, reference)
    assert_sound(at_once, reference)


def test_the_cap_holds_and_memory_stays_flat() -> None:
    state = KeyedState(10_000)
    state.reserve(300_000)
    full, slots = state.state_bytes, state.slots
    keys = np.random.default_rng(3).permutation(300_000).astype(np.uint64) + np.uint64(1)
    for batch in np.array_split(keys, 30):
        state.reserve(len(batch))
        touch_all(state.slots, batch)
    assert (state.tracked, state.evicted, state.state_bytes) == (10_000, 290_000, full)
    assert state.slots is slots, "what has all its room must not be built again for every batch"
    assert state.to_arrays()["keys"].tolist() == keys[-10_000:].tolist()


def test_add_refuses_null_and_stops_when_full() -> None:
    state = KeyedState(2)
    assert [int(add(state.slots, np.uint64(key))) for key in (0, 5, 6, 7)] == [-1, 0, 1, -1]
    assert (state.tracked, state.evicted) == (2, 0)


def test_the_salt_moves_keys_in_the_table_and_changes_nothing_else() -> None:
    keys = np.random.default_rng(4).choice(CROWD, 2000).astype(np.uint64)
    plain, salted = KeyedState(8), KeyedState(8, salt=0x0123456789ABCDEF)
    assert touch_all(plain.slots, keys).tolist() == touch_all(salted.slots, keys).tolist()
    assert plain.slots.table.tolist() != salted.slots.table.tolist()
    assert len({int(home(salted.slots, np.uint64(key))) for key in CROWD}) > 6
    assert_same_arrays(plain.to_arrays(), salted.to_arrays())


def assert_same_arrays(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert np.array_equal(array, other[name])


def test_saved_and_loaded_it_goes_on_alike() -> None:
    rng = np.random.default_rng(5)
    state, reference = KeyedState(3000), Reference(3000)
    for size in (0, 1, 50, 6000, 3000):
        keys = rng.integers(1, 5000, size).astype(np.uint64)
        state.reserve(size)
        touch_all(state.slots, keys)
        for key in keys.tolist():
            reference.touch(key)
        saved = state.to_arrays("users_")
        for array in saved.values():
            array.setflags(write=False)
        state = KeyedState.from_arrays(saved, "users_", salt=size)
        assert_same_arrays(state.to_arrays("users_"), saved)
        assert (state.tracked, state.evicted) == (len(reference.slots), reference.evicted)
        assert state.to_arrays()["keys"].tolist() == list(reference.slots)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keys", None),
        ("keys", [3, 1, 2]),
        ("keys", np.array([3, 1, 2], np.int64)),
        ("keys", np.array([3, 1, 2], ">u8")),
        ("keys", np.array([3, 1, 2], object)),
        ("keys", np.array([[3, 1, 2]], np.uint64)),
        ("keys", np.array([3, 0, 2], np.uint64)),
        ("keys", np.array([3, 1, 3], np.uint64)),
        ("keys", np.arange(1, 12, dtype=np.uint64)),
        ("capacity", np.array(0, np.int64)),
        ("capacity", np.array(2**62, np.int64)),
        ("capacity", np.array([10], np.int64)),
        ("evicted", np.array(-1, np.int64)),
        ("evicted", np.array(2**63 - 1, np.int64)),
        ("evicted", np.array(1.0)),
    ],
)
def test_damaged_arrays_are_refused_by_name(name: str, value: Any) -> None:
    arrays: dict[str, Any] = {
        "keys": np.array([3, 1, 2], np.uint64),
        "capacity": np.array(10, np.int64),
        "evicted": np.array(4, np.int64),
    }
    assert KeyedState.from_arrays(arrays).tracked == 3
    with pytest.raises(ModelError) as caught:
        KeyedState.from_arrays(arrays | {name: value})
    assert caught.value.where == name


@pytest.mark.parametrize("capacity", [0, -1, 2**40])
def test_a_capacity_out_of_range_is_refused(capacity: int) -> None:
    with pytest.raises(ModelError, match="capacity"):
        KeyedState(capacity)


def test_a_small_run_is_small() -> None:
    assert KeyedState(10_000_000).state_bytes < 30_000
