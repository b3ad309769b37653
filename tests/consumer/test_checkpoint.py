"""Every writing and every reading of what a partition has learned is refused to whoever is out of date."""

from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skimstream.consumer.board import Board, key
from skimstream.consumer.checkpoint import CheckpointError, Checkpoints, Saved, pack, unpack
from skimstream.consumer.fence import Fence, Stale
from stage.copies import copy_of

ROW = np.dtype([("visits", np.int64), ("mean", np.float64, (2,))])
NOTHING = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, ROW)
SAVED = Saved({"a": np.arange(3)}, "model", "layout")


def some(*keys: int) -> tuple[Any, Any, Any]:
    rows = np.zeros(len(keys), ROW)
    rows["visits"] = keys
    return np.array(keys, np.uint64), np.array(keys, np.int64) + 100, rows


def begun(store: redis.Redis) -> tuple[Checkpoints, Fence]:
    checkpoints = Checkpoints(store, "ztf")
    return checkpoints, checkpoints.begin("t/0", 5).fence


def test_the_start_is_set_once_with_nothing_learned(store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    assert (fence, fence.learned, fence.digest, fence.entities) == (Fence(5, "5:new:0"), 5, "new", 0)
    assert checkpoints.begin("t/0", 99).fence == fence
    assert checkpoints.read("t/0", fence) is None


def test_what_is_written_is_read_and_recalled(store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    fence = checkpoints.write("t/0", fence, 5, SAVED, some(7, 8, 9), np.zeros(0, np.uint64))
    assert (fence.learned, fence.entities) == (5, 3)
    assert checkpoints.begin("t/0", 0).fence == fence
    saved = checkpoints.read("t/0", fence)
    assert saved is not None
    assert (saved.arrays["a"].tolist(), saved.model, saved.layout) == ([0, 1, 2], "model", "layout")
    keys, seen, rows = checkpoints.recall("t/0", fence, np.array([9, 1, 7], np.uint64), ROW)
    assert (keys.tolist(), seen.tolist(), rows["visits"].tolist()) == ([9, 7], [109, 107], [9, 7])
    fence = checkpoints.write("t/0", fence, 6, SAVED, some(8), np.array([7, 9], np.uint64))
    assert fence.entities == 1
    _, keys, seen = checkpoints.sweep("t/0", 0, ROW)
    assert (keys.tolist(), seen.tolist()) == ([8], [108])


def test_more_entities_than_lua_passes_at_once(store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    many = some(*range(1, 20_001))
    fence = checkpoints.write("t/0", fence, 5, SAVED, many, np.zeros(0, np.uint64))
    assert fence.entities == 20_000
    found = checkpoints.recall("t/0", fence, many[0], ROW)
    assert np.array_equal(found[2], many[2])
    assert checkpoints.write("t/0", fence, 5, SAVED, NOTHING, many[0][:15_000]).entities == 5_000


def moved_offset(store: redis.Redis, fence: Fence) -> None:
    assert Board(store, "ztf").commit("t/0", fence, fence.offset + 1, []).applied


def moved_checkpoint(store: redis.Redis, fence: Fence) -> None:
    Checkpoints(store, "ztf").write("t/0", fence, fence.learned, SAVED, some(1), np.zeros(0, np.uint64))


@pytest.mark.parametrize("move", [moved_offset, moved_checkpoint])
def test_whoever_is_out_of_date_writes_nothing(move: Any, store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    move(store, fence)
    before = copy_of(store)
    with pytest.raises(Stale):
        checkpoints.write("t/0", fence, 6, SAVED, some(7), np.zeros(0, np.uint64))
    assert not Board(store, "ztf").commit("t/0", fence, fence.offset + 7, []).applied
    assert copy_of(store) == before
    assert checkpoints.fences(["t/0"]) != [str(fence)]


def test_whoever_is_out_of_date_is_told_nothing(store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    moved_checkpoint(store, fence)
    with pytest.raises(Stale):
        checkpoints.recall("t/0", fence, np.array([1], np.uint64), ROW)
    with pytest.raises(Stale):
        checkpoints.read("t/0", fence._replace(checkpoint="5:abc:1"))


def test_a_lost_answer_is_no_refusal(store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    once = checkpoints.write("t/0", fence, 5, SAVED, some(7), np.zeros(0, np.uint64))
    assert checkpoints.write("t/0", fence, 5, SAVED, some(7), np.zeros(0, np.uint64)) == once


def test_a_newer_or_foreign_checkpoint_is_refused_by_name(store: redis.Redis) -> None:
    checkpoints, fence = begun(store)
    fence = checkpoints.write("t/0", fence, 5, SAVED, NOTHING, np.zeros(0, np.uint64))
    name = key("ztf", "model", "t/0")
    blob = store.get(name)
    assert isinstance(blob, bytes)
    for old, new, words in (
        (b'"version": 1', b'"version": 2', "version is 2"),
        (b"skimstream-checkpoint", b"somebodys-elses", "is no skimstream-checkpoint"),
        (b'"offset": 5', b'"offset": 6', "reflects offset 6"),
        (b"{", b"", "not JSON"),
    ):
        with pytest.raises(CheckpointError, match=words):
            read_instead(checkpoints, store, fence, blob.replace(old, new, 1))


def read_instead(checkpoints: Checkpoints, store: redis.Redis, fence: Fence, blob: bytes) -> None:
    """As if another program had written it, digest and all."""
    from hashlib import sha256

    text = f"{fence.learned}:{sha256(blob).hexdigest()[:16]}:{fence.entities}"
    store.set(key("ztf", "model", "t/0"), blob)
    store.hset(key("ztf", "checkpoints"), "t/0", text)
    checkpoints.read("t/0", fence._replace(checkpoint=text))


@given(hnp.arrays(ROW, st.integers(0, 5)), st.integers(-(1 << 62), 1 << 62))
def test_entities_are_packed_and_unpacked_to_the_last_bit(rows: Any, first: int) -> None:
    keys = np.arange(1, len(rows) + 1, dtype=np.uint64)
    seen = np.arange(len(rows)) + first
    packed = pack(keys, seen, rows)
    again, found = unpack(keys, packed, ROW, "here")
    assert again.tolist() == seen.tolist()
    assert found.tobytes() == rows.tobytes()
    for i, one in enumerate(packed):
        for at in (0, len(one) // 2, len(one) - 1):
            broken = [*packed[:i], one[:at] + bytes([one[at] ^ 4]) + one[at + 1 :], *packed[i + 1 :]]
            with pytest.raises(CheckpointError, match="damaged"):
                unpack(keys, broken, ROW, "here")
        with pytest.raises(CheckpointError):
            unpack(keys, [*packed[:i], one[:5], *packed[i + 1 :]], ROW, "here")
    if len(keys) > 1:
        with pytest.raises(CheckpointError, match="damaged"):
            unpack(keys[::-1].copy(), packed, ROW, "here")
