"""An ensemble with optional parts: names and columns, batches, checkpoints, bundles."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.ensemble import PARTS
from skimstream.scoring.errors import ModelError
from skimstream.scoring.model import ARRAYS, Model
from skimstream.scoring.npz import read_arrays
from skimstream.scoring.sliding import SlidingForest
from skimstream.scoring.train import Options, train

Arrays = dict[str, NDArray[Any]]

NAMES, UNITS = ("a", "b", "rule_c"), ("mag", "1", "1")
ROWS = np.random.default_rng(0).normal(size=(1_700, 3))
ROWS[np.random.default_rng(1).random(ROWS.shape) < 0.05] = np.nan
ROWS[:, 2] = 0.0
FRESH = np.random.default_rng(2).normal(size=(1_500, 3))
FRESH[:, 2] = 0.0
FRESH[[5, 6, 700], 2] = 1.0  # they break a rule


def trained(*optional: str, **options: Any) -> Model:
    parts = ("frozen", "online", *optional)
    return train("test", NAMES, UNITS, ROWS, options=Options(trees=10, parts=parts, **options))


@pytest.fixture(scope="module")
def plain() -> Model:
    return trained()


@pytest.fixture(scope="module")
def full() -> Model:
    return trained("ecdf", "sliding", winsor=True, guard=True, window=300)


def bits(model: Model, matrix: NDArray[np.float64], cuts: list[int]) -> list[bytes]:
    ensemble = model.ensemble()
    seen = [ensemble.score_learn(piece) for piece in np.split(matrix, sorted(cuts))]
    found = [np.concatenate([getattr(s, name) for s in seen]) for name in ("score", "combined", "raw", "z", "missing")]
    return [array.tobytes() for array in found] + [array.tobytes() for array in ensemble.to_arrays().values()]


@pytest.mark.parametrize("optional", [(), ("sliding",), ("ecdf",), ("ecdf", "sliding")])
def test_parts_are_named_in_their_order_and_have_a_column_each(optional: tuple[str, ...]) -> None:
    model = trained(*optional)
    ensemble = model.ensemble()
    assert ensemble.parts == model.parts == tuple(part for part in PARTS if part in ("frozen", "online", *optional))
    scores = ensemble.score_learn(FRESH)
    assert scores.raw.shape == scores.z.shape == (len(FRESH), len(model.parts))
    assert ensemble.combiner.state.shape[0] == len(model.parts)
    broken = FRESH[:, 2] > 0
    assert np.isfinite(scores.raw[~broken]).all()  # from the first event on: they lived through the training
    assert np.isnan(scores.raw[broken][:, 1:]).all()
    assert np.isfinite(scores.raw[broken][:, 0]).all()
    combined, z = scores.combined[~broken], scores.z[~broken]
    assert ((combined >= z[:, 0]) & (combined <= z.max(axis=1) + 1e-12)).all()
    assert (combined > z[:, 0]).any()


def test_the_two_parts_do_not_notice_the_others(plain: Model) -> None:
    alone, together = (m.ensemble().score_learn(FRESH) for m in (plain, trained("sliding", "ecdf")))
    np.testing.assert_array_equal(together.raw[:, :2], alone.raw)
    np.testing.assert_array_equal(together.z[:, :2], alone.z)
    assert (together.combined != alone.combined).any()


def test_options_reach_the_half_space_trees(full: Model, plain: Model) -> None:
    assert (full.halfspace.window_size, full.halfspace.winsor, full.halfspace.guard) == (300, True, True)
    assert (plain.halfspace.window_size, plain.halfspace.winsor, plain.halfspace.guard) == (250, False, False)


@settings(deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(0, len(FRESH)), max_size=20))
def test_no_batch_split_changes_a_bit(full: Model, cuts: list[int]) -> None:
    assert bits(full, FRESH, cuts) == bits(full, FRESH, [])


@settings(deadline=None, max_examples=10)
@given(at=st.integers(0, len(FRESH)))
def test_a_checkpoint_goes_on_from_any_event(full: Model, at: int) -> None:
    first, second = full.ensemble(), full.ensemble()
    first.score_learn(FRESH[:at])
    second.restore({**first.to_arrays(), "events": np.array(7), "state.more": np.zeros(2)})
    ours, theirs = second.score_learn(FRESH[at:]), first.score_learn(FRESH[at:])
    for name in ("score", "combined", "raw", "z"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


BAD: dict[str, Callable[[Arrays], Any]] = {
    "no sliding": lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("sliding.")],
    "no ecdf": lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("ecdf.")],
    "sliding with nan": lambda arrays: arrays["sliding.rows"].fill(np.nan),
    "ecdf of other events": lambda arrays: arrays["ecdf.seen"].__iadd__(1),
    "half-space trees that don't add up": lambda arrays: arrays["halfspace.finished"].__iadd__(1),
    "a combiner of two": lambda arrays: arrays.update({"combiner.state": arrays["combiner.state"][:2]}),
    "a ranker of text": lambda arrays: arrays.update({"ranker.values": np.array(["1"])}),
}


@pytest.mark.parametrize("harm", BAD)
def test_a_checkpoint_that_is_refused_changes_nothing(full: Model, harm: str) -> None:
    ensemble = full.ensemble()
    ensemble.score_learn(FRESH[:600])
    kept, bad = ensemble.to_arrays(), full.ensemble().to_arrays()
    BAD[harm](bad)
    with pytest.raises(ModelError):
        ensemble.restore(bad)
    now = ensemble.to_arrays()
    assert {name: array.tobytes() for name, array in now.items()} == {n: a.tobytes() for n, a in kept.items()}


ALWAYS = {"forest", "halfspace", "reference", "combiner", "ranker", "thresholds"}


def test_a_bundle_keeps_the_parts(full: Model, plain: Model, tmp_path: Path) -> None:
    full.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert (loaded.id, loaded.parts) == (full.id, PARTS)
    assert bits(loaded, FRESH, [3, 900]) == bits(full, FRESH, [])
    groups = {name.partition(".")[0] for name in read_arrays((tmp_path / ARRAYS).read_bytes(), "here")}
    assert groups == {*ALWAYS, "sliding", "ecdf"}
    plain.save(tmp_path)
    groups = {name.partition(".")[0] for name in read_arrays((tmp_path / ARRAYS).read_bytes(), "here")}
    assert groups == ALWAYS


def test_the_id_covers_the_parts(full: Model) -> None:
    assert full.sliding is not None
    moved = full.sliding.copy()
    moved.score_learn(np.zeros((1, 3)))
    other = SlidingForest.from_arrays(full.sliding.to_arrays() | {"settings": np.array([43, 100, 256, 2_048, 512])})
    ids = {full.id, *(replace(full, sliding=one).id for one in (moved, other, None)), replace(full, ecdf=None).id}
    assert len(ids) == 5


def test_a_bundle_whose_part_has_other_features_is_refused(full: Model, tmp_path: Path) -> None:
    replace(full, sliding=SlidingForest(4)).save(tmp_path)
    with pytest.raises(ModelError, match="names 3 features, a part has 4"):
        Model.load(tmp_path)


@pytest.mark.parametrize("parts", [(), ("frozen",), ("online",), ("frozen", "online", "best")])
def test_parts_that_there_are_not_are_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match="choose from frozen, online, sliding, ecdf, the first two always"):
        Options(parts=parts)
