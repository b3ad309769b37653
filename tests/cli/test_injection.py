"""`skim evaluate`: injected alerts go the way of any, equal seeds give equal figures, the gate stops artefacts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from skimstream.cli import nights
from skimstream.cli.injected import Evaluation, EvaluationError, Plan
from skimstream.cli.main import app
from skimstream.cli.models import load_model
from skimstream.cli.nights import Reader, read_hosts, simulated_hosts
from skimstream.consumer.streams.ztf import Ztf
from skimstream.producer.archive import messages
from skimstream.producer.encode import container, plain
from skimstream.producer.hosts import MEASURED, host_of
from skimstream.producer.implant import alert_of, implant
from skimstream.producer.schema import load
from skimstream.producer.shapes import NOTHING, SHAPES, UnknownShape
from skimstream.producer.simulate.event import Simulated
from skimstream.schemas.decode import Decoder
from skimstream.schemas.reader import read_records
from skimstream.scoring.band_forests import Band, BandForests
from skimstream.scoring.forest import Forest
from skimstream.scoring.model import Model

SMALL = ("--seeds", "1", "--nights", "1", "--background", "250", "--copies", "3")


def skim(*arguments: str) -> tuple[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


def bits(matrix: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(matrix).tobytes()


@pytest.fixture(scope="module")
def simulated() -> tuple[str, dict[str, Any]]:
    return skim("ztf", *SMALL)


def test_all_shapes_by_simulated_cadences(simulated: tuple[str, dict[str, Any]]) -> None:
    text, figures = simulated
    assert set(figures["shapes"]) == set(SHAPES) - {"artefact"}
    for name, one in figures["shapes"].items():
        assert name in text
        assert one["objects"] == 3
        for share in (one["scorable"], one["control"], *one["recall"].values()):
            mean, low, high = share
            assert 0 <= low <= mean <= high <= 1
        steps = [point["in_top"]["skimstream"][0] for point in one["points"]]
        assert steps == sorted(steps)
        assert one["recall"]["skimstream"][0] <= one["scorable"][0]
    artefacts = figures["artefacts"]["share_of_top"]
    assert artefacts["gate"]["skimstream"][0] < artefacts["no gate"]["skimstream"][0]
    assert figures["cadences"]["real"] is False


def test_the_same_seed_gives_the_same_figures_whatever_else_is_injected(simulated: tuple[str, dict[str, Any]]) -> None:
    text, figures = skim("ztf", *SMALL, "--inject", "microlensing", "--json")
    assert len(text.splitlines()) == 1
    assert figures["shapes"] == {"microlensing": simulated[1]["shapes"]["microlensing"]}
    assert figures["artefacts"] is None


def test_wrong_names_say_what_there_is() -> None:
    with pytest.raises(UnknownShape, match="choose from supernova, cv-outburst, microlensing, tde, flare, artefact"):
        CliRunner().invoke(app, ["evaluate", "ztf", "--inject", "nova"], catch_exceptions=False)
    done = CliRunner().invoke(app, ["evaluate", "behaviour"])
    assert done.exit_code == 2
    with pytest.raises(EvaluationError, match="none of the 0 objects"):
        Evaluation(load_model("ztf", None), [], {"tde": SHAPES["tde"]}, Plan((1,), 1, 500, 1, True))


def test_injected_alerts_decode_from_avro_to_the_same_bits() -> None:
    reader, schema = Reader(), load("ztf_like")
    alerts: list[Simulated] = []
    for number, host in enumerate(simulated_hosts(1)[:30]):
        for shape in SHAPES.values():
            made = implant(np.random.default_rng(number), host, shape, MEASURED, f"ZTF26{number}", 10**18, "", 40.0)
            alerts += made.alerts[-1:]
    decoder = Decoder(Ztf.wanted, "plain", json.loads(schema.text))
    decoded = decoder.decode([plain(alert.record, schema) for alert in alerts])
    assert not decoded.rejected
    found = reader.stream.open().features(decoded.columns)
    gathered = reader.read(alerts)
    assert len(gathered.jd) > 60
    assert bits(found.matrix) == bits(gathered.matrix)
    assert reader.gate.passes(decoded.columns)[found.rows].tolist() == gathered.passes.tolist()
    assert found.rows.tolist() == gathered.index.tolist()


def test_real_alerts_with_nothing_added_keep_their_features(shared: Path) -> None:
    """The survey's own bytes through the worker's decoder, and the same packet injected with nothing: the same bits."""
    archives = sorted((shared / "data/ztf").glob("*.tar.gz"))
    packets = [data for _, data in messages(archives)]
    stream = Reader().stream
    decoded = Decoder(stream.wanted, "auto").decode(packets)
    original = stream.open().features(decoded.columns)
    keys = [decoded.columns.text("objectId").at(row) for row in original.rows.tolist()]
    hosts = [(host_of(record), data) for data in packets for record in read_records(data)]
    rng = np.random.default_rng(1)
    made = [implant(rng, host, NOTHING, MEASURED, host.name, 1, "control") for host, _ in hosts if host]
    again = Reader().read([one.alerts[-1] for one in made])
    own = Reader().read([alert_of(host) for host, _ in hosts if host])
    named = np.array([key is not None for key in keys])
    assert len(again.jd) > 80
    assert bits(again.matrix) == bits(original.matrix[named]) == bits(own.matrix)


def test_the_gate_is_the_streams_own() -> None:
    hosts = simulated_hosts(1)
    reader = Reader()
    alerts = [alert_of(host) for host in hosts[:200]]
    gathered = reader.read(alerts)
    decoder = Decoder(Ztf.wanted, "plain", json.loads(load("ztf_like").text))
    decoded = decoder.decode([plain(alert.record, load("ztf_like")) for alert in alerts])
    gated = Ztf().open().features(decoded.columns)
    assert 0 < gated.unscored["gated"] < len(alerts)
    assert bits(gated.matrix) == bits(gathered.take(gathered.passes).matrix)


def test_alerts_are_mixed_in_time_order_and_scored_in_it() -> None:
    reader = Reader()
    alerts = [alert_of(host) for host in simulated_hosts(1)]
    one, other = reader.read(alerts[::2]), reader.read(alerts[1::2])
    mixed = one.mixed(other)
    assert (np.diff(mixed.jd) >= 0).all()
    assert sorted(mixed.owners.tolist()) == sorted([*one.owners.tolist(), *other.owners.tolist()])
    model = load_model("ztf", None)
    whole = reader.scores(model.ensemble(), mixed, np.random.default_rng(1))
    ensemble = model.ensemble()
    cut = [mixed.take(np.arange(i, min(i + 7, len(mixed.jd)))) for i in range(0, len(mixed.jd), 7)]
    parts = [reader.scores(ensemble, some, np.random.default_rng(1))["skimstream"] for some in cut]
    assert bits(np.concatenate(parts)) == bits(whole["skimstream"])


def test_a_bundle_of_finks_kind_of_forests(tmp_path: Path) -> None:
    """One tree a band, which splits at an amplitude of 1 mag."""
    split: dict[str, NDArray[Any]] = {
        "kind": np.array("additive"),
        "n_features": np.array(1),
        "takes_nan": np.array(False),
        "tree_sizes": np.array([3]),
        "feature": np.array([0, -1, -1], np.int16),
        "threshold": np.array([1, np.inf, np.inf], np.float32),
        "missing_left": np.zeros(3, np.bool_),
        "value": np.array([[0.0], [-0.25], [-0.75]]),
    }
    bands = {name: Band(Forest(split), (f"{name}_amplitude",), np.array([np.nan])) for name in "gr"}
    replace(load_model("ztf", None), forest=BandForests(bands, "C", Ztf.features)).save(tmp_path / "bundle")
    _, figures = skim("ztf", *SMALL, "--model", str(tmp_path / "bundle"), "--inject", "microlensing")
    assert figures["model"] != load_model("ztf", None).id
    reader, ensemble = Reader(), Model.load(tmp_path / "bundle").ensemble()
    scores = reader.scores(ensemble, reader.read([alert_of(h) for h in simulated_hosts(1)]), np.random.default_rng(1))
    assert scores["frozen forest"].tolist() == np.where(scores["amplitude"] > 1, 0.75, 0.25).tolist()


def test_files_give_cadences(tmp_path: Path) -> None:
    schema = load("ztf_like")
    for number, host in enumerate(simulated_hosts(1)[:150]):
        (tmp_path / f"{number}.avro").write_bytes(container(alert_of(host).record, schema))
    (tmp_path / "broken.avro").write_bytes(b"Obj\x01nothing")
    hosts, left_out = read_hosts([tmp_path], 1 << 20, lambda done: None)
    assert (len(hosts), left_out) == (150, 1)
    _, figures = skim("ztf", str(tmp_path), *SMALL, "--inject", "cv-outburst")
    assert (figures["left_out"], figures["cadences"]["objects"]) == (1, 150)
    assert figures["cadences"]["real"] is True


def test_a_whole_nights_file_is_not_taken_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nights, "MOST_ALERTS", 20)
    for number, host in enumerate(simulated_hosts(1)[:40]):
        (tmp_path / f"{number:02d}.avro").write_bytes(container(alert_of(host).record, load("ztf_like")))
    assert len(read_hosts([tmp_path], 1 << 20, lambda done: None)[0]) == 20
