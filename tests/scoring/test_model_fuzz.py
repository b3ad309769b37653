"""Hostile model bundles: damaged, lying or made to be slow. Always a `ModelError`, soon, in little memory; what loads
scores. Checksum and id fit the arrays wherever that is possible: whoever forges a model can compute them.
"""

import hashlib
import io
import json
import random
import re
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring import forest as forest_module
from skimstream.scoring import model as model_module
from skimstream.scoring import npz as npz_module
from skimstream.scoring.errors import ModelError
from skimstream.scoring.model import ARRAYS, INFLATION, MANIFEST, SMALL_BYTES, Model
from skimstream.scoring.npz import write_arrays
from skimstream.scoring.train import Options, train

Arrays = dict[str, NDArray[Any]]
BUDGET_MS = 100.0
ID = "0" * 12
ROWS = np.random.default_rng(0).normal(size=(1_500, 3))
LABELS = np.abs(ROWS[:, 0]) > 1.9
NAMES = ("a", "b", "c")


@dataclass
class Bundle:
    """The bytes of the two files; `sealed` gives them the checksum that they should have."""

    manifest: bytes
    packed: bytes

    def sealed(self) -> "Bundle":
        manifest = json.loads(self.manifest)
        manifest |= {"arrays_sha256": hashlib.sha256(self.packed).hexdigest(), "id": ID}
        return Bundle(json.dumps(manifest).encode(), self.packed)

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / MANIFEST).write_bytes(self.manifest)
        (folder / ARRAYS).write_bytes(self.packed)
        return folder


def trained(labels: NDArray[np.bool_] | None = None) -> Model:
    trees = 5 if labels is None else 30  # else some row would be in the bag of them all
    return train("test", NAMES, ("mag", "1", "s"), ROWS, labels, Options(trees, samples=64))


def bundle_of(model: Model, folder: Path) -> Bundle:
    model.save(folder)
    return Bundle((folder / MANIFEST).read_bytes(), (folder / ARRAYS).read_bytes())


def arrays_of(bundle: Bundle) -> Arrays:
    return {name: array.copy() for name, array in npz_module.read_arrays(bundle.packed, "good").items()}


def repacked(bundle: Bundle, arrays: Arrays) -> Bundle:
    return Bundle(bundle.manifest, write_arrays(arrays)).sealed()


def with_array(name: str, make: Callable[[Arrays], Any]) -> Callable[[Bundle], Bundle]:
    """The same bundle with one array replaced."""

    def change(bundle: Bundle) -> Bundle:
        arrays = arrays_of(bundle)
        return repacked(bundle, arrays | {name: np.asarray(make(arrays))})

    return change


def with_member(
    name: str,
    body: bytes | None,
    compression: int = zipfile.ZIP_DEFLATED,
    patch: Callable[[bytes], bytes] = lambda data: data,
) -> Callable[[Bundle], Bundle]:
    """The same bundle with one member of the zip replaced by these bytes, if any, and the zip changed afterwards."""

    def change(bundle: Bundle) -> Bundle:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(bundle.packed)) as good, zipfile.ZipFile(out, "w", compression) as bad:
            for member in good.infolist():
                replaced = body if member.filename == name + ".npy" else None
                bad.writestr(member.filename, good.read(member) if replaced is None else replaced)
        return Bundle(bundle.manifest, patch(out.getvalue())).sealed()

    return change


def header(text: str) -> bytes:
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


def npy(descr: str, shape: tuple[int, ...], body: bytes = b"") -> bytes:
    return header(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}") + body


def directory_of(entries: int) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for i in range(entries):
                archive.writestr(f"a{i}.npy", b"")
        return Bundle(bundle.manifest, out.getvalue()).sealed()

    return change


def chain(length: int) -> Callable[[Bundle], Bundle]:
    """One tree that is a list: every level has an inner node and a leaf."""

    def change(bundle: Bundle) -> Bundle:
        arrays = arrays_of(bundle)
        feature = np.array([0] + [0, -1] * (length - 1) + [-1, -1], np.int16)
        arrays |= {
            "forest.tree_sizes": np.array([len(feature)], np.int64),
            "forest.feature": feature,
            "forest.threshold": np.where(feature < 0, np.inf, 0.0).astype(np.float32),
            "forest.missing_left": np.zeros(len(feature), np.bool_),
            "forest.value": np.zeros((len(feature), 1)),
        }
        return repacked(bundle, arrays)

    return change


def manifest_with(**changed: Any) -> Callable[[Bundle], Bundle]:
    return lambda bundle: Bundle(json.dumps(json.loads(bundle.manifest) | changed).encode(), bundle.packed).sealed()


def raw_manifest(text: bytes) -> Callable[[Bundle], Bundle]:
    return lambda bundle: Bundle(text, bundle.packed)


def flipped(name: str, at: int, bit: int = 1) -> Callable[[Arrays], NDArray[Any]]:
    def make(arrays: Arrays) -> NDArray[Any]:
        array = arrays[name]
        array.reshape(-1).view(np.uint8)[at] ^= bit
        return array

    return make


MANY = 10**9
# An entry of a zip's directory, up to the byte of flags that says "encrypted".
ENTRY = re.compile(b"PK\x01\x02.{4}\0", re.DOTALL)
HOSTILE: dict[str, Callable[[Bundle], Bundle]] = {
    # a zip that is none, or one that costs much to look at
    "truncated to half": lambda b: Bundle(b.manifest, b.packed[: len(b.packed) // 2]).sealed(),
    "empty": lambda b: Bundle(b.manifest, b"").sealed(),
    "a directory of 20,000 entries": directory_of(20_000),
    "65 arrays": directory_of(65),
    "a zip with a comment": with_member("", None, patch=lambda data: data[:-2] + b"\x01\0x"),
    "compressed with lzma": with_member("ranker.window", npy("<i8", (1,), bytes(8)), zipfile.ZIP_LZMA),
    "compressed with bzip2": with_member("ranker.window", npy("<i8", (1,), bytes(8)), zipfile.ZIP_BZIP2),
    "encrypted": with_member("", None, patch=lambda data: re.sub(ENTRY, lambda found: found[0][:-1] + b"\1", data)),
    "100 MB of zeros in 0.1 MB": with_member("ranker.values", npy("<f8", (12_500_000,), bytes(100_000_000))),
    # headers that lie
    "30 GiB declared": with_member("forest.value", npy("<f8", (4 * MANY, 1))),
    "more cells than memory has bytes": with_member("forest.value", npy("<f8", (MANY,) * 7)),
    "nothing, in giant dimensions": with_member("forest.value", npy("<f8", (0, *(MANY,) * 7))),
    "a text of 4 GB": with_member("forest.kind", npy("<U1000000000", ())),
    "a negative shape": with_member("forest.value", npy("<f8", (-1, 1), bytes(8))),
    "a header of brackets": with_member("forest.value", header("(" * 117)),
    "a header of 60 kB": with_member("forest.value", b"\x93NUMPY\x01\x00\x60\xea" + b"[" * 60_000),
    "a header of version 3": with_member("forest.value", b"\x93NUMPY\x03\x00" + bytes(200)),
    "a subarray type": with_member(
        "forest.value", header("{'descr': ('<f8', (99999999,)), 'fortran_order': False, 'shape': (), }")
    ),
    "Python objects": with_member("forest.value", npy("|O", (1,), b"\x80\x04N.")),
    "Fortran order": with_array("forest.value", lambda a: np.asfortranarray(np.zeros((4, 2)))),
    # wrong types
    "big-endian": with_array("forest.threshold", lambda a: a["forest.threshold"].astype(">f4")),
    "thresholds in float64": with_array("forest.threshold", lambda a: a["forest.threshold"].astype(np.float64)),
    "complex": with_array("ranker.values", lambda a: a["ranker.values"].astype(np.complex128)),
    "a bool of 2": with_member("forest.takes_nan", npy("|b1", (), b"\2")),
    "text that is no Unicode": with_member("forest.kind", npy("<U1", (), struct.pack("<I", 0x110000))),
    "a kind nobody knows": with_array("forest.kind", lambda a: np.str_("neural")),
    # trees that are none: cycles, gaps, lists
    "no leaf": with_array("forest.feature", lambda a: np.zeros_like(a["forest.feature"])),
    "leaves only": with_array("forest.feature", lambda a: np.full_like(a["forest.feature"], -1)),
    "a leaf opened": with_array("forest.feature", lambda a: np.append(a["forest.feature"][:-1], np.int16(0))),
    "a feature too far": with_array("forest.feature", lambda a: a["forest.feature"] * np.int16(3)),
    "sizes that overflow": with_array("forest.tree_sizes", lambda a: np.array([2**62] * 4 + [5], np.int64)),
    "sizes of nothing": with_array("forest.tree_sizes", lambda a: np.zeros(0, np.int64)),
    "a tree 150,000 deep": chain(150_000),
    "a tree 131,073 deep": chain(131_073),
    "more features than numbers": with_array("forest.n_features", lambda a: np.int64(2**62)),
    "other features than named": with_array("forest.n_features", lambda a: np.int64(4)),
    # numbers that no training gives
    "a NaN threshold": with_array("forest.threshold", lambda a: np.full_like(a["forest.threshold"], np.nan)),
    "an infinite path": with_array("forest.value", lambda a: np.full_like(a["forest.value"], np.inf)),
    "bounds beyond float32": with_array("reference.high", lambda a: np.full(3, 1e300)),
    "a width of 0": with_array("reference.spread", lambda a: np.zeros(3)),
    "scores of 1e308": with_array("combiner.state", lambda a: np.full_like(a["combiner.state"], 1e308)),
    "half a score heard": with_array("combiner.state", lambda a: a["combiner.state"] + 0.5),
    "NaN ranks": with_array("ranker.values", lambda a: np.full(10, np.nan)),
    "a window of 10^18 ranks": with_array("ranker.window", lambda a: np.array([10**18], np.int64)),
    "a million empty names": with_array("halfspace.features", lambda a: np.full(15_000_000, 10, np.uint8)),
    "a table of a million rows": with_array("halfspace.window_size", lambda a: np.int64(1 << 20)),
    "counts that don't add up": with_array("halfspace.finished", flipped("halfspace.finished", 0)),
    "half-space trees of height 40": with_array("halfspace.feature", lambda a: np.zeros((1, 2**21 - 1), np.int32)),
    "a split on feature -1": with_array("halfspace.feature", lambda a: np.full_like(a["halfspace.feature"], -1)),
    "an array less": lambda b: repacked(b, {k: v for k, v in arrays_of(b).items() if k != "forest.value"}),
    "no arrays": lambda b: repacked(b, {}),
    # manifests
    "a manifest of brackets": raw_manifest(b"[" * 500_000),
    "a manifest of digits": raw_manifest(b"9" * 900_000),
    "a manifest that isn't UTF-8": raw_manifest(b'{"format": "\xff\xfe"}'),
    "a manifest of 2 MB": raw_manifest(b" " * 2_000_000),
    "an empty manifest": raw_manifest(b""),
    "a name with a terminal's escapes": manifest_with(stream="\x1b[2J"),
    "a unit that can't be encoded": manifest_with(features=[{"name": n, "unit": "\ud800"} for n in NAMES]),
    "30,000 features": manifest_with(features=[{"name": str(i), "unit": "1"} for i in range(30_000)]),
    "a checksum that is a list": raw_manifest(b'{"format": "skimstream-model", "arrays_sha256": []}'),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(trained(), tmp_path_factory.mktemp("isolation"))


@pytest.fixture(scope="module")
def good_classifier(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(trained(LABELS), tmp_path_factory.mktemp("classifier"))


@pytest.fixture(autouse=True)
def any_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forged model has the id that its manifest states."""
    monkeypatch.setattr(Model, "id", ID)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_soon_and_cheaply(name: str, good: Bundle, tmp_path: Path) -> None:
    folder = HOSTILE[name](good).write(tmp_path / "bundle")
    times = []
    for _ in range(3):
        began = time.process_time()
        with pytest.raises(ModelError):
            Model.load(folder)
        times.append((time.process_time() - began) * 1e3)
    assert min(times) < BUDGET_MS
    assert peak(folder) <= 2 * allowed(folder)


def test_the_good_bundle_is_fine(good: Bundle, tmp_path: Path) -> None:
    assert Model.load(good.sealed().write(tmp_path / "bundle")).features == NAMES


def allowed(folder: Path) -> int:
    """What the arrays of this bundle may take."""
    size = (folder / ARRAYS).stat().st_size
    return min(npz_module.TOTAL_BYTES, SMALL_BYTES + INFLATION * size)


def peak(folder: Path) -> int:
    """The most bytes held at a time while the bundle is loaded, or refused."""
    tracemalloc.start()
    try:
        Model.load(folder)
    except ModelError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("classes", [0, 2, 8])
def test_the_largest_model_takes_twice_its_limit_at_most(
    good: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    """At a sixteenth of the real limits: forests that use up the nodes, or the bytes, that are allowed."""
    total, nodes = npz_module.TOTAL_BYTES // 16, forest_module.MAX_NODES // 16
    monkeypatch.setattr(model_module, "TOTAL_BYTES", total)
    monkeypatch.setattr(forest_module, "MAX_NODES", nodes)
    sizes = min(nodes, (total - (4 << 20)) // (7 + 8 * max(classes, 1))) // 1023
    feature = np.tile(np.array([0] * 511 + [-1] * 512, np.int16), sizes)
    arrays = arrays_of(good)
    arrays = {name: array for name, array in arrays.items() if name not in ("forest.classes", "forest.expected_path")}
    random_bits = np.random.default_rng(0)
    arrays |= {
        "forest.kind": np.asarray(np.str_("classifier" if classes else "isolation")),
        "forest.tree_sizes": np.full(sizes, 1023, np.int64),
        "forest.feature": feature,
        "forest.threshold": np.where(feature < 0, np.inf, random_bits.random(len(feature))).astype(np.float32),
        "forest.missing_left": np.zeros(len(feature), np.bool_),
        "forest.value": np.full((len(feature), classes), 1 / classes)
        if classes
        else random_bits.random((len(feature), 1)),
    }
    arrays |= {"forest.classes": np.arange(classes)} if classes else {"forest.expected_path": np.asarray(5.0)}
    folder = repacked(good, arrays).write(tmp_path / "bundle")
    assert Model.load(folder).forest.n_trees == sizes
    assert peak(folder) <= 2 * total


FILE_FLIPS, NUMBER_FLIPS = 1_500, 300


def test_random_flips_of_the_files_are_refused_or_harmless(good: Bundle, tmp_path: Path) -> None:
    """Bits of the zip (its checksum mended) and of the manifest, cut short now and then."""
    chance = random.Random(7)
    outcomes = {"refused": 0, "loaded": 0}
    good = good.sealed()
    for _ in range(FILE_FLIPS):
        if chance.random() < 0.7:
            bad = Bundle(good.manifest, mutilated(good.packed, chance)).sealed()
        else:
            bad = Bundle(mutilated(good.manifest, chance), good.packed)
        outcomes[attempt(bad.write(tmp_path / "bundle"))] += 1
    assert outcomes["refused"] > FILE_FLIPS / 2, outcomes


def mutilated(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    # A zip's directory is at its end: half of all flips hit it.
    first = len(data) * 9 // 10 if chance.random() < 0.5 else 0
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(first, len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["good", "good_classifier"])
def test_random_flips_of_the_numbers_are_refused_or_harmless(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """One bit of one array, with all checksums right: only the arrays' own checks stand between it and the kernels."""
    good: Bundle = request.getfixturevalue(kind)
    chance = random.Random(8)
    arrays = arrays_of(good)
    outcomes = {"refused": 0, "loaded": 0}
    for _ in range(NUMBER_FLIPS):
        name = chance.choice(sorted(arrays))
        array = arrays[name]
        if not array.size:
            continue
        cells = array.reshape(-1).view(np.uint8)
        at, bit = chance.randrange(len(cells)), np.uint8(1 << chance.randrange(8))
        cells[at] ^= bit
        outcomes[attempt(stored(good, arrays).write(tmp_path / "bundle"))] += 1
        cells[at] ^= bit
    assert min(outcomes.values()) > NUMBER_FLIPS / 10, outcomes


def stored(bundle: Bundle, arrays: Arrays) -> Bundle:
    """As `repacked`, but not compressed, which takes long."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return Bundle(bundle.manifest, out.getvalue()).sealed()


def attempt(folder: Path) -> str:
    """Load and score: "refused" by a ModelError, or "loaded", and then scores are what scores can be."""
    try:
        model = Model.load(folder)
    except ModelError:
        return "refused"
    scores = model.ensemble().score_learn(np.vstack([ROWS[:20], [[1e9, -1e9, np.nan]]]))
    # Half-space trees whose first window isn't full are silent.
    assert not np.isnan(scores.raw[:, 0]).any()
    assert not np.isinf(scores.raw).any()
    heard = scores.score[~np.isnan(scores.score)]
    assert ((heard >= 0) & (heard < 1)).all()
    return "loaded"


numbers = st.sampled_from(["|b1", "|i1", "<i2", "<i8", "<u4", "<f2", "<f4", "<f8", "<U3"])


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_other_types_and_shapes_are_refused_or_harmless(
    good: Bundle, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    arrays = arrays_of(good)
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    match data.draw(st.sampled_from(["type", "shape", "other", "less", "cut"])):
        case "type":
            with np.errstate(all="ignore"):
                arrays[name] = np.zeros(array.shape, data.draw(numbers))
        case "shape":
            arrays[name] = np.zeros(data.draw(st.lists(st.integers(0, 70), max_size=3)), array.dtype)
        case "other":
            arrays[name] = arrays[data.draw(st.sampled_from(sorted(arrays)))]
        case "less":
            del arrays[name]
        case "cut":
            arrays[name] = array[: data.draw(st.integers(0, len(array)))] if array.ndim else array.reshape(1)
    attempt(stored(good, arrays).write(tmp_path_factory.getbasetemp() / "shapes"))


def bundles(folder: Path) -> Iterator[tuple[str, Path]]:
    """All of HOSTILE as folders, for the benchmark."""
    good = bundle_of(trained(), folder / "good")
    for number, (name, change) in enumerate(HOSTILE.items()):
        yield name, change(good).write(folder / str(number))
