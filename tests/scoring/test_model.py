import json
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.scoring.errors import FeatureMismatch, ModelError
from skimstream.scoring.model import ARRAYS, MANIFEST, Model
from skimstream.scoring.npz import read_arrays, write_arrays
from skimstream.scoring.train import Options, train

NAMES, UNITS = ("a", "b", "c"), ("mag", "1", "s")
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(1_500, 3))
ROWS[RNG.random(ROWS.shape) < 0.05] = np.nan


@pytest.fixture(scope="module")
def model() -> Model:
    return train("test", NAMES, UNITS, ROWS, options=Options(trees=10))


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_loaded_bundle_scores_as_the_trained_model_does(model: Model, folder: Path) -> None:
    loaded = Model.load(folder)
    assert loaded.id == model.id
    assert (loaded.features, loaded.units, loaded.stream) == (NAMES, UNITS, "test")
    fresh = RNG.normal(size=(300, 3))
    np.testing.assert_array_equal(loaded.ensemble().score_learn(fresh).score, model.ensemble().score_learn(fresh).score)


def test_the_same_rows_and_seed_give_the_same_files(model: Model, folder: Path, tmp_path: Path) -> None:
    train("test", NAMES, UNITS, ROWS, options=Options(trees=10)).save(tmp_path / "again")
    for name in (ARRAYS, MANIFEST):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_trained_model_scores_from_the_first_event(model: Model) -> None:
    assert np.isfinite(model.ensemble().score_learn(ROWS[:5]).score).all()


def test_partitions_share_nothing_that_learns(model: Model) -> None:
    fresh = RNG.normal(size=(300, 3))
    first = model.ensemble().score_learn(fresh).combined
    np.testing.assert_array_equal(model.ensemble().score_learn(fresh).combined, first)


@pytest.mark.parametrize("row", [[np.nan] * 3, [np.inf, -np.inf, 0.0], [1e9, -1e300, 1e308], [0.0, 0.0, 0.0]])
def test_hostile_rows_get_finite_scores_and_poison_nothing(model: Model, row: list[float]) -> None:
    fresh = RNG.normal(size=(2_000, 3))
    clean = model.ensemble().score_learn(fresh).combined
    ensemble = model.ensemble()
    scores = ensemble.score_learn(np.array([row] * 3))
    assert ((scores.score >= 0) & (scores.score < 1)).all()
    after = ensemble.score_learn(fresh).combined
    assert np.isfinite(after).all()
    # Three hostile rows move later scores no more than a few unlucky honest ones would.
    assert np.abs(after - clean)[-500:].mean() < 0.25 * clean.std()


def test_a_huge_value_scores_no_lower_than_an_ordinary_extreme(model: Model) -> None:
    def combined(value: float) -> float:
        return float(model.ensemble().score_learn(np.array([[value, value, value]])).combined[0])

    # Beyond what training saw, a forest says the same of all; it never says less.
    assert combined(1e9) >= combined(3.0) > combined(0.0)


def test_names_and_their_order_must_fit(model: Model) -> None:
    model.require(NAMES)
    for given_names in (("b", "a", "c"), ("a", "b"), ("a", "b", "d")):
        with pytest.raises(FeatureMismatch):
            model.require(given_names)


def edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


CHANGES: dict[str, Callable[[dict[str, object]], object]] = {
    "another direction": lambda m: m.update(direction="lower = more anomalous"),
    "a later format": lambda m: m.update(format_version=2),
    "not ours": lambda m: m.update(format="other"),
    "no features": lambda m: m.pop("features"),
    "features swapped": lambda m: m["features"].reverse(),  # type: ignore[attr-defined]
    "a feature twice": lambda m: m["features"].append(m["features"][0]),  # type: ignore[attr-defined,index]
    "a feature less": lambda m: m["features"].pop(),  # type: ignore[attr-defined]
    "a unit changed": lambda m: m["features"][0].update(unit="day"),  # type: ignore[index]
    "features without names": lambda m: m.update(features=[1, 2, 3]),
    "another stream": lambda m: m.update(stream="ztf"),
    "another checksum": lambda m: m.update(arrays_sha256="0" * 64),
    "no training": lambda m: m.pop("training"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_manifest_that_was_tampered_with_is_refused(folder: Path, change: Callable[..., object]) -> None:
    edit(folder, change)
    with pytest.raises(ModelError):
        Model.load(folder)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_flipped_bytes_and_truncations_are_refused(model: Model, data: st.DataObject) -> None:
    good = write_arrays(model._arrays())  # noqa: SLF001 - the very bytes that a bundle holds
    if data.draw(st.booleans()):
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        changed = bytearray(good)
        changed[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
        bad = bytes(changed)
    try:
        arrays = read_arrays(bad, "test")
    except ModelError:
        return
    original = model._arrays()  # noqa: SLF001
    for name, array in arrays.items():  # a flip in a zip's unused header fields changes nothing
        if name in original:
            np.testing.assert_array_equal(array, original[name])


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="skim train"):
        Model.load(tmp_path)


def npy(shape: tuple[int, ...], dtype: str = "<f8", body: bytes = b"") -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def zipped(**members: bytes) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


HOSTILE = {
    "30 GiB declared": zipped(a=npy((4_000_000_000,))),
    "negative shape": zipped(a=npy((-1,), body=bytes(8))),
    "objects": zipped(a=npy((1,), "|O", pickle.dumps([1]))),
    "records": zipped(a=npy((1,), "|V8", bytes(8))),
    "longer than it says": zipped(a=npy((1,), body=bytes(16))),
    "shorter than it says": zipped(a=npy((2,), body=bytes(8))),
    "not an array": zipped(a=b"hello"),
    "too many": zipped(**{f"a{i}": npy((1,), body=bytes(8)) for i in range(100)}),
    "not a zip": b"PK nonsense",
    "empty": b"",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        read_arrays(data, "test")


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy((2_000_000,), body=bytes(16_000_000)))
    with pytest.raises(ModelError, match="bytes"):
        read_arrays(out.getvalue(), "test", limit=1_000_000)


def test_loading_unpickles_nothing(folder: Path) -> None:
    found: list[str] = []
    active = True

    def hook(event: str, args: object) -> None:
        if active and event == "pickle.find_class":
            found.append(str(args))

    sys.addaudithook(hook)
    Model.load(folder)
    pickle.loads(pickle.dumps(ModelError))  # noqa: S301 - the hook does hear a pickle
    active = False
    assert len(found) == 1


def test_too_few_rows_or_labels_of_one_kind_are_refused() -> None:
    with pytest.raises(ModelError, match="training needs"):
        train("test", NAMES, UNITS, ROWS[:10])
    for labels in (np.zeros(len(ROWS), bool), np.ones(len(ROWS), bool), np.zeros(3, bool)):
        with pytest.raises(ModelError, match="labels"):
            train("test", NAMES, UNITS, ROWS, labels)


def test_labels_make_a_random_forest_whose_figures_are_out_of_bag() -> None:
    labels = np.random.default_rng(3).random(len(ROWS)) < 0.1  # nothing to learn
    model = train("test", NAMES, UNITS, ROWS, labels, Options(trees=30))
    assert model.forest.kind == "classifier"
    assert abs(model.metrics["out_of_bag_roc_auc"] - 0.5) < 0.1  # in-sample it would be above .9
    signal = train("test", NAMES, UNITS, ROWS, np.nan_to_num(ROWS[:, 0]) > 1.5, Options(trees=30))
    assert signal.metrics["out_of_bag_roc_auc"] > 0.95
    scores = signal.ensemble().score_learn(np.array([[2.5, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert scores.raw[0, 0] > 0.9 > 0.1 > scores.raw[1, 0]
    assert scores.combined[0] > scores.combined[1]
