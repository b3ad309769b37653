"""What the rolling parts have in common: batches, copies, state, hostile state."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.ecdf import RollingEcdf
from skimstream.scoring.errors import ModelError, RowRefused
from skimstream.scoring.rolling import Rolling
from skimstream.scoring.sliding import SlidingForest

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

MAKERS: dict[str, Callable[[], Rolling]] = {
    "sliding": lambda: SlidingForest(3, seed=5, trees=7, samples=32, window=100, every=32),
    "ecdf": lambda: RollingEcdf(3, window=100, every=32),
}
MAKERS |= {"sliding, short window": lambda: SlidingForest(3, trees=3, samples=32, window=20, every=32)}
X = np.random.default_rng(0).normal(size=(500, 3)) * [1, 1e6, 1e-6]
EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def same(ours: Arrays, theirs: Arrays) -> bool:
    return ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def through_a_file(arrays: Arrays) -> Arrays:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded)


@EVERY
@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 500), max_size=30))
def test_no_batch_split_changes_a_bit(make: Callable[[], Rolling], cuts: list[int]) -> None:
    whole, pieced = make(), make()
    scores = whole.score_learn(X)
    found = np.concatenate([pieced.score_learn(piece) for piece in np.split(X, sorted(cuts))])
    assert found.tobytes() == scores.tobytes()
    assert same(pieced.state(), whole.state())


@EVERY
@settings(deadline=None, max_examples=40)
@given(at=st.integers(0, 500))
def test_it_goes_on_from_any_event_as_if_nothing_had_happened(make: Callable[[], Rolling], at: int) -> None:
    expected = make().score_learn(X)[at:]
    first = make()
    first.score_learn(X[:at])
    restored, again = make(), type(first).from_arrays(through_a_file(first.to_arrays()))
    restored.score_learn(X[::-1].copy())  # whatever it had learned is gone
    restored.restore(through_a_file(first.state()))
    for part in (first.copy(), restored, again):
        assert same(part.to_arrays(), first.to_arrays())
        assert part.score_learn(X[at:]).tobytes() == expected.tobytes()
    assert len(first.state()["rows"]) <= first.window + first.every - 1


@EVERY
def test_copies_learn_apart_and_state_is_a_copy(make: Callable[[], Rolling]) -> None:
    part = make()
    part.score_learn(X[:150])
    kept, twin = part.to_arrays(), part.copy()
    twin.score_learn(X[150:400])
    for array in part.to_arrays().values():
        array[...] = 0
    assert same(part.to_arrays(), kept)
    assert part.score_learn(X[150:]).tobytes() == make().score_learn(X)[150:].tobytes()


def replaced(name: str, change: Callable[[NDArray[Any]], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name])}


def cell(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(rows: NDArray[Any]) -> NDArray[Any]:
        rows[3, 1] = value
        return rows

    return change


HOSTILE: dict[str, Callable[[Arrays], Arrays]] = {
    "seen negative": replaced("seen", lambda seen: np.array(-1)),
    "seen one more": replaced("seen", lambda seen: seen + np.int64(1)),
    "seen immense": replaced("seen", lambda seen: np.array(2**63 - 1)),
    "seen as float": replaced("seen", lambda seen: seen.astype(np.float64)),
    "seen as a list": replaced("seen", lambda seen: seen.reshape(1)),
    "a row less": replaced("rows", lambda rows: rows[1:]),
    "a row more": replaced("rows", lambda rows: np.vstack([rows, rows[:1]])),
    "a column less": replaced("rows", lambda rows: rows[:, 1:]),
    "no column": replaced("rows", lambda rows: rows[:, :0]),
    "rows in one dimension": replaced("rows", lambda rows: rows.ravel()),
    "rows of another type": replaced("rows", lambda rows: rows.astype(np.float16)),
    "rows in the other byte order": replaced("rows", lambda rows: rows.astype(rows.dtype.newbyteorder())),
    "rows as a list": replaced("rows", lambda rows: rows.tolist()),
    "nan": replaced("rows", cell(np.nan)),
    "infinite": replaced("rows", cell(np.inf)),
    "rows missing": lambda arrays: {name: array for name, array in arrays.items() if name != "rows"},
    "an array too many": lambda arrays: arrays | {"more": np.zeros(1)},
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("harm", HOSTILE)
@EVERY
def test_hostile_state_is_refused_and_changes_nothing(make: Callable[[], Rolling], harm: str) -> None:
    part = make()
    part.score_learn(X[:150])
    before = part.state()
    if harm != "a column less":  # of a whole part, that is one of fewer features
        with pytest.raises(ModelError):
            type(part).from_arrays(HOSTILE[harm](part.to_arrays()))
    with pytest.raises(ModelError):
        part.restore(HOSTILE[harm](part.state()))
    assert same(part.state(), before)
    assert part.score_learn(X[150:]).tobytes() == make().score_learn(X)[150:].tobytes()


def test_settings_out_of_range_are_refused() -> None:
    bad: list[dict[str, int]] = [{"window": 1}, {"every": 1}, {"window": 1 << 40}, {"every": 1 << 40}]
    for settings_ in bad:
        with pytest.raises(ModelError):
            SlidingForest(3, **settings_)
        with pytest.raises(ModelError):
            RollingEcdf(3, **settings_)
    more: list[dict[str, int]] = [{"seed": -1}, {"trees": 0}, {"samples": 1}, {"trees": 10_000}, {"samples": 1 << 16}]
    for settings_ in more:
        with pytest.raises(ModelError):
            SlidingForest(3, **settings_)
    with pytest.raises(ModelError, match="2621 at most"):
        SlidingForest(2_622)
    with pytest.raises(ModelError, match="32767 at most"):
        SlidingForest(32_768, trees=1, samples=2, window=2, every=2)
    for features in (0, 1 << 20):
        with pytest.raises(ModelError):
            SlidingForest(features)
        with pytest.raises(ModelError):
            RollingEcdf(features)
    for name, cells in (("settings", 2), ("settings", 4)):
        arrays = RollingEcdf(3).to_arrays()
        arrays[name] = np.full(cells, 100, np.int64)
        if cells != 2:
            with pytest.raises(ModelError, match="settings"):
                RollingEcdf.from_arrays(arrays)
    with pytest.raises(ModelError, match="settings"):
        RollingEcdf.from_arrays(RollingEcdf(3).to_arrays() | {"settings": np.array([100.0, 20.0])})


@EVERY
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_value_that_is_no_number_is_refused_before_anything_is_learned(
    make: Callable[[], Rolling], value: float
) -> None:
    part = make()
    part.score_learn(X[:150])
    before, bad = part.state(), X[150:300].copy()
    bad[40, 2] = value
    with pytest.raises(RowRefused, match=r"row 40, column 2: is .* impute missing values before"):
        part.score_learn(bad)
    assert same(part.state(), before)


@EVERY
def test_another_matrix_is_refused_and_layout_does_not_matter(make: Callable[[], Rolling]) -> None:
    bad: Any
    for bad in (np.zeros((3, 4)), np.zeros(3), np.zeros((2, 3), np.float32)):
        with pytest.raises(ModelError, match=r"expected float64\[n, 3\]"):
            make().score_learn(bad)
    frozen = np.asfortranarray(X)
    frozen.setflags(write=False)
    assert make().score_learn(frozen).tobytes() == make().score_learn(X).tobytes()
    assert make().score_learn(X[:0]).shape == (0,)
