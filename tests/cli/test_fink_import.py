import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import redis
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from skimstream.cli import fink_files
from skimstream.cli.fink_files import read_fink_files
from skimstream.cli.main import app
from skimstream.consumer.board import Board, read_top
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.streams.ztf import Ztf
from skimstream.consumer.worker import Worker
from skimstream.producer.encode import container
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.schemas.decode import Decoder
from skimstream.schemas.reader import read_file
from skimstream.scoring.band_forests import BandForests
from skimstream.scoring.errors import ModelError
from skimstream.scoring.fink import FEATURES_18, FEATURES_25
from skimstream.scoring.model import Model
from stage.listed import Letters, Listed, Topic
from stage.onnx_trees import Ranges, forest, to_bytes

FOLDER = "fink_science/data/models/anomaly_detection/"
MAGNITUDES = ("mean", "median", "weighted_mean")


def onnx_of(names: tuple[str, ...], seed: int) -> bytes:
    ranges: Ranges = [(15.0, 21.0) if name in MAGNITUDES else (0.0, 1.0) for name in names]
    return to_bytes(forest(seed, ranges, trees=60), len(names))


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


MEANS = ",0\n" + "".join(f"{name},{number / 10}\n" for number, name in enumerate(FEATURES_18))
OLD = {f"forest_{name}_AAD.onnx": onnx_of(FEATURES_18, seed) for name, seed in (("g", 1), ("r", 2))}
BETA = {f"forest_{name}_AAD_beta.onnx": onnx_of(tuple(sorted(FEATURES_25)), s) for name, s in (("g", 3), ("r", 4))}
WHEEL = {
    FOLDER + "anomaly_detection_forest_AAD.zip": zipped(OLD),
    FOLDER + "anomaly_detection_forest_AAD_beta.zip": zipped(BETA),
    FOLDER + "g_means.csv": MEANS.encode(),
    FOLDER + "r_means.csv": MEANS.encode(),
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "fink_science-7.4.0-py3-none-any.whl"
    path.write_bytes(zipped(WHEEL))
    return path


def skim(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["models", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_wheels_public_forests_become_a_bundle(wheel: Path, tmp_path: Path) -> None:
    said = skim("import-fink", wheel, "-o", tmp_path / "bundle")
    assert "band g: forest_r, 18 inputs; inputs [13]" in said
    assert "trained on the order that Fink feeds" in said
    model = Model.load(tmp_path / "bundle")
    assert isinstance(model.forest, BandForests)
    assert model.forest.regime == "B"
    assert model.forest.bands["g"].inputs == tuple(f"g_{name}" for name in FEATURES_18)
    assert model.forest.bands["r"].means.tolist() == [number / 10 for number in range(18)]
    assert (model.training["source"], model.training["user"]) == ([wheel.name], "public")
    assert model.id in skim("list", tmp_path / "bundle")


@pytest.mark.parametrize(("flags", "order"), [([], FEATURES_25), (["--aligned"], tuple(sorted(FEATURES_25)))])
def test_forests_of_25_inputs_are_fed_as_fink_does_or_aligned(
    wheel: Path, tmp_path: Path, flags: list[str], order: tuple[str, ...]
) -> None:
    said = skim("import-fink", wheel, "-o", tmp_path / "bundle", "--user", "beta", *flags)
    assert said.count("inputs [16, 17, 24] (from 0) split like magnitudes: trained on the features sorted by name") == 2
    assert said.count("19 inputs get another feature") == 2
    model = Model.load(tmp_path / "bundle")
    assert isinstance(model.forest, BandForests)
    assert model.forest.regime == "C"
    assert model.forest.bands["r"].inputs == tuple(f"r_{name}" for name in order)
    assert model.training["inputs"] == ("as trained" if flags else "as Fink feeds them")


def test_a_folder_serves_as_well_as_a_wheel(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, data in (OLD | {"g_means.csv": MEANS.encode(), "r_means.csv": MEANS.encode()}).items():
        (folder / name).write_bytes(data)
    assert read_fink_files(folder, "") == read_fink_files(wheel, "")
    (folder / "anomaly_detection_forest_AAD_beta.zip").write_bytes(zipped(BETA))
    assert read_fink_files(folder, "beta") == read_fink_files(wheel, "beta")
    skim("import-fink", folder, "-o", tmp_path / "bundle", "--regime", "A")


def test_a_worker_puts_finks_score_on_the_board(wheel: Path, tmp_path: Path, store: redis.Redis) -> None:
    skim("import-fink", wheel, "-o", tmp_path / "bundle", "--user", "beta")
    model, kind = Model.load(tmp_path / "bundle"), Ztf()
    schema = load("ztf_like")
    messages = [container(one.record, schema) for one in simulate_night(3, date(2026, 11, 21), 500, 0.05)]
    expected = {}
    for message in messages:
        for columns in read_file(message, kind.wanted):
            found = kind.open().features(columns)
            for row, score in zip(found.rows.tolist(), model.forest.anomaly(found.matrix).tolist(), strict=True):
                expected[kind.event_id(columns, row)] = score
    letters, metrics = Letters(), Metrics(CollectorRegistry(), "ztf", kind.unscored_reasons)
    decoder = Decoder(kind.wanted, kind.framing, kind.schema())
    worker = Worker(kind, model, Board(store, "ztf", 1_000), letters, metrics, decoder, lambda: 1.0)
    source = Listed(Topic({0: list(messages)}), iter([64] * 1_000))
    worker.run(source, lambda: source.done)
    rows = [row for night in ("2026-11-20", "2026-11-21") for row in read_top(store, "ztf", night, 1_000)]
    assert len(rows) > 50
    assert all(row["raw"]["frozen"] == expected[row["event"]] for row in rows)


def broken(change: Callable[[dict[str, bytes]], object]) -> bytes:
    files = dict(WHEEL)
    change(files)
    return zipped(files)


BAD = {
    "not a wheel": (b"nothing", "neither a folder nor a readable wheel"),
    "empty": (b"", "neither a folder nor a readable wheel"),
    "no forests": (zipped({"a": b""}), "another release of fink-science"),
    "half a pair": (zipped({"forest_g_AAD.onnx": OLD["forest_g_AAD.onnx"]}), "another release of fink-science"),
    "a forest twice": (broken(lambda f: f.update({"anomaly_detection_forest_AAD.zip": b""})), "2 times"),
    "an inner zip cut": (
        broken(lambda f: f.update({FOLDER + "anomaly_detection_forest_AAD.zip": zipped(OLD)[:5_000]})),
        "neither a folder nor a readable wheel",
    ),
    "means of words": (broken(lambda f: f.update({FOLDER + "g_means.csv": b"mean,x\n"})), "a name and a number"),
    "means of three": (broken(lambda f: f.update({FOLDER + "g_means.csv": b"mean,1,2\n"})), "a name and a number"),
    "means of NaN": (broken(lambda f: f.update({FOLDER + "g_means.csv": b"mean,nan\n"})), "not finite"),
    "a mean twice": (broken(lambda f: f.update({FOLDER + "g_means.csv": b"mean,1\nmean,2\n"})), "twice"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_wrong_with_a_wheel_is_said(wrong: str, tmp_path: Path) -> None:
    data, word = BAD[wrong]
    (tmp_path / "a.whl").write_bytes(data)
    with pytest.raises(ModelError, match=word):
        read_fink_files(tmp_path / "a.whl", "")


def test_nothing_there_and_an_encrypted_member_are_errors_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        read_fink_files(tmp_path / "nothing.whl", "")
    data = bytearray(zipped(OLD | {"g_means.csv": b"", "r_means.csv": b""}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            struct.pack_into("<H", data, place + flags, 1)
            place = data.find(signature, place + 4)
    (tmp_path / "a.whl").write_bytes(data)
    with pytest.raises(ModelError, match="encrypted"):
        read_fink_files(tmp_path / "a.whl", "")


def test_a_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fink_files, "FILE_BYTES", 1 << 20)
    bomb = zipped({f"forest_{name}_AAD.onnx": bytes(2 << 20) for name in "gr"})
    (tmp_path / "a.whl").write_bytes(bomb)
    with pytest.raises(ModelError, match="larger than 1048576 bytes"):
        read_fink_files(tmp_path / "a.whl", "")
    monkeypatch.setattr(fink_files, "WHEEL_BYTES", len(bomb) - 1)
    with pytest.raises(ModelError, match=f"larger than {len(bomb) - 1} bytes"):
        read_fink_files(tmp_path / "a.whl", "")


@pytest.mark.parametrize("arguments", [["--regime", "D"], ["--user", "../x"]])
def test_wrong_options_are_usage_errors(wheel: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["models", "import-fink", str(wheel), "-o", str(tmp_path / "b"), *arguments])
    assert done.exit_code == 2


def test_regimes_that_fill_need_means(wheel: Path, tmp_path: Path) -> None:
    arguments = ["models", "import-fink", str(wheel), "-o", str(tmp_path / "b"), "--user", "beta", "--regime", "B"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, ModelError)
    assert "regime B needs a finite mean" in str(done.exception)


@pytest.mark.skipif(not os.environ.get("SKIM_FINK_WHEEL"), reason="needs SKIM_FINK_WHEEL, a fink-science 7.4.0 wheel")
@pytest.mark.parametrize("user", ["", "beta", "anais", "emille", "julien", "maria"])
def test_all_forests_of_the_real_wheel(user: str, tmp_path: Path) -> None:
    skim("import-fink", os.environ["SKIM_FINK_WHEEL"], "-o", tmp_path, "--user", user)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest["features"]) == 52
    rows = np.random.default_rng(0).uniform(0, 20, (50, 52))
    assert np.isfinite(Model.load(tmp_path).forest.anomaly(rows)).all()
