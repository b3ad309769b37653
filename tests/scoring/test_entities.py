"""Rows of state, one a key: a bounded cache against a plain dict, used as a worker uses it."""

import itertools
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.scoring.entities import Entities, Keys
from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.behaviour_kernel import USER
from skimstream.scoring.keyed import NOWHERE, find

VISITS = np.dtype([("visits", np.int64), ("sum", np.float64)])


def key_array(keys: Sequence[int]) -> Keys:
    return np.array(keys, np.uint64)


def find_slot(entities: Entities, key: int) -> int:
    return int(find(entities.slots, np.uint64(key)))


def is_here(entities: Entities, key: int) -> bool:
    return find_slot(entities, key) != NOWHERE


def visit(entities: Entities, keys: Sequence[int]) -> list[tuple[int, float]]:
    """Admit a batch; each event reads its row, then changes it by an amount that tells the events apart."""
    first = entities.events
    entities.admit(key_array(keys))
    told = []
    for event, key in enumerate(keys, first):
        slot = find_slot(entities, key)
        if slot == NOWHERE:
            told.append((-1, -1.0))
            continue
        row = entities.rows[slot]
        told.append((int(row["visits"]), float(row["sum"])))
        row["visits"] += 1
        row["sum"] += 0.1 * event
    return told


class Reference:
    """The same without any bound: a dict, in which every key starts anew when it was away for longer than a life."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self.events = 0
        self.rows: dict[int, tuple[int, int, float]] = {}  # key → number of its last event, visits, sum

    def visit(self, keys: Sequence[int]) -> list[tuple[int, float]]:
        told = []
        for key in keys:
            seen, visits, total = self.rows.get(key, (self.events, 0, 0.0))
            if self.events - seen > self.lifetime:
                visits, total = 0, 0.0
            told.append((visits, total) if key else (-1, -1.0))
            if key:
                self.rows[key] = self.events, visits + 1, total + 0.1 * self.events
            self.events += 1
        return told


class Keeper:
    """What consumer/memory.py does with Redis, with a dict: recall before a batch, save when there is no room."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[int, bytes]] = {}

    def save(self, entities: Entities) -> None:
        keys, seen, rows = entities.changes()
        for key, number, row in zip(keys.tolist(), seen.tolist(), rows, strict=True):
            self.kept[key] = number, row.tobytes()
        changed = set(keys.tolist())
        swept = [key for key in self.kept if key not in changed]
        outlived = entities.outlived(np.array([self.kept[key][0] for key in swept], np.int64))
        for key in itertools.compress(swept, outlived.tolist()):
            del self.kept[key]
        entities.saved()

    def recall(self, entities: Entities, keys: Sequence[int]) -> None:
        if not entities.fits(len(keys)):
            self.save(entities)
        found = [key for key in entities.missing(key_array(keys)).tolist() if key in self.kept]
        rows = np.frombuffer(bytearray(b"".join(self.kept[key][1] for key in found)), entities.rows.dtype)
        entities.put(key_array(found), np.array([self.kept[key][0] for key in found], np.int64), rows)


batches = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=15)
lifetimes = st.sampled_from([4, 7, 20, 1000])


@settings(deadline=None)
@given(batches, st.integers(4, 12), lifetimes, st.data())
def test_any_capacity_gives_the_rows_of_an_unbounded_dict(
    stream: list[list[int]], capacity: int, lifetime: int, data: st.DataObject
) -> None:
    entities, keeper, reference = Entities(capacity, VISITS, lifetime), Keeper(), Reference(lifetime)
    changed: set[int] = set()
    for batch in stream:
        if data.draw(st.booleans(), "save"):
            keeper.save(entities)
            changed = set()
        elif not entities.fits(len(batch)):
            changed = set()  # `recall` saves
        if data.draw(st.integers(0, 5), "restart") == 0:
            keeper.save(entities)
            events, changed = entities.events, set()
            entities = Entities(capacity, VISITS, lifetime, salt=len(stream))
            entities.events = events
        keeper.recall(entities, batch)
        assert visit(entities, batch) == reference.visit(batch)

        changed |= set(batch) - {0}
        keys, seen, rows = entities.changes()
        assert sorted(keys.tolist()) == sorted(changed)  # each once, none lost
        assert entities.changes_held == len(changed)
        assert entities.keys.tracked <= capacity
        for key, number, row in zip(keys.tolist(), seen.tolist(), rows.tolist(), strict=True):
            assert reference.rows[key] == (number, *row)
        assert seen.tolist() == sorted(seen.tolist())  # the least recent first
    keeper.save(entities)
    keeper.save(entities)  # sweeps what only became outlived while it waited to be saved
    alive = {key for key, (seen, _, _) in reference.rows.items() if reference.events - seen <= lifetime}
    for key, (last, packed) in keeper.kept.items():
        assert reference.rows[key] == (last, *np.frombuffer(packed, VISITS)[0].tolist())
    assert set(keeper.kept) == alive  # nothing that can come back is swept away


@settings(deadline=None)
@given(batches, lifetimes)
def test_the_cuts_between_batches_change_nothing(stream: list[list[int]], lifetime: int) -> None:
    in_batches, one_by_one = Entities(100, VISITS, lifetime), Entities(100, VISITS, lifetime)
    told = [answer for batch in stream for answer in visit(in_batches, batch)]
    assert told == [answer for key in itertools.chain(*stream) for answer in visit(one_by_one, [key])]


def test_what_changed_is_never_evicted() -> None:
    entities = Entities(4, VISITS, lifetime=1000)
    visit(entities, [1, 2])
    entities.saved()
    visit(entities, [3, 4])
    assert entities.fits(2)
    assert entities.missing(key_array([5, 1])).tolist() == [5]  # and 1 is now newer than 2
    visit(entities, [5, 1])
    assert [is_here(entities, key) for key in (1, 2, 3, 4, 5)] == [True, False, True, True, True]
    assert not entities.fits(1)
    with pytest.raises(ModelError, match="1 events don't fit beside 4 changes"):
        entities.admit(key_array([6]))
    assert entities.changes()[0].tolist() == [3, 4, 5, 1]
    entities.saved()
    assert entities.fits(4)
    assert not entities.fits(5)
    assert entities.changes()[0].tolist() == []


def test_the_missing_are_asked_for_once_and_nobody_is_not() -> None:
    entities = Entities(10, VISITS)
    visit(entities, [3])
    assert entities.missing(key_array([5, 3, 0, 5, 4, 0])).tolist() == [4, 5]
    assert entities.missing(key_array([])).tolist() == []


def test_what_is_put_in_is_no_change() -> None:
    entities = Entities(10, VISITS)
    entities.put(key_array([7]), np.array([0]), np.array([(41, 0.5)], VISITS))
    assert entities.changes()[0].tolist() == []
    assert visit(entities, [7]) == [(41, 0.5)]
    assert entities.changes()[0].tolist() == [7]


def test_an_evicted_keys_row_is_nobody_elses() -> None:
    entities = Entities(2, VISITS)
    visit(entities, [1, 2])
    entities.saved()
    assert visit(entities, [3]) == [(0, 0.0)]
    assert entities.keys.evicted == 1


@pytest.mark.parametrize(("away", "told"), [(5, (1, 0.0)), (6, (0, 0.0))])
def test_who_was_away_for_longer_than_a_life_is_new(away: int, told: tuple[int, float]) -> None:
    entities = Entities(100, VISITS, lifetime=5)
    for key in (1, *range(2, 1 + away)):
        visit(entities, [key])
    assert visit(entities, [1]) == [told]


def test_the_outlived_can_only_come_back_as_new() -> None:
    entities = Entities(100, VISITS, lifetime=5)
    visit(entities, [1])
    for key in range(2, 6):
        visit(entities, [key])
        assert entities.outlived(np.array([0])).tolist() == [False]  # the very next event may still be in time
    visit(entities, [6])
    visit(entities, [7])  # the events 0 to 6 were; the next is number 7
    assert entities.outlived(np.array([0, 1, 2])).tolist() == [True, True, False]


def test_growth_changes_nothing() -> None:
    """From the first 1,024 slots on, twice, with rows in them."""
    entities, reference = Entities(5_000, VISITS), Reference(10_000)
    rng = np.random.default_rng(1)
    for _ in range(20):
        batch = rng.integers(1, 3_000, 200).tolist()
        assert visit(entities, batch) == reference.visit(batch)
    assert 1_024 < entities.keys.tracked <= entities.keys.room == len(entities.rows)
    assert len(entities.seen) == len(entities.changed) == len(entities.rows)
    for key, seen, row in zip(*(column.tolist() for column in entities.changes()), strict=True):
        assert reference.rows[key] == (seen, *row)


def test_a_batch_longer_than_a_life_is_refused() -> None:
    entities = Entities(100, VISITS, lifetime=3)
    with pytest.raises(ModelError, match="4 events in a batch, a lifetime is 3"):
        entities.admit(key_array([1, 2, 3, 1]))
    with pytest.raises(ModelError, match="lifetime: is 0"):
        Entities(100, VISITS, lifetime=0)


STATM = Path("/proc/self/statm")


def resident_megabytes() -> float:
    return int(STATM.read_text().split()[1]) * resource.getpagesize() / 1e6


@pytest.mark.nightly
@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_five_million_users_take_no_more_memory_than_the_first_two_hundred_thousand() -> None:
    entities = Entities(200_000, USER)
    sizes, resident = [], []
    for start in range(0, 5_000_000, 1_000):
        batch = np.arange(start + 1, start + 1_001, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        if not entities.fits(len(batch)):
            entities.saved()
        entities.missing(batch)
        entities.admit(batch)
        if start % 200_000 == 0:
            entities.rows["seen"] += 1  # every row is written to, so that every page is real
        if start >= 400_000 and start % 100_000 == 0:
            sizes.append(entities.state_bytes)
            resident.append(resident_megabytes())
    assert entities.keys.tracked == 200_000
    assert entities.keys.evicted == 4_800_000
    assert len(set(sizes)) == 1
    assert sizes[0] < 200_000 * (USER.itemsize + 50)
    assert max(resident) - min(resident) < 10
