"""Real LSST alerts, and ELAsTiCC's: trained on, replayed over 754 nights, and from a broker to a board."""

import itertools
import json
import logging
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import redis
from typer.testing import CliRunner

from skimstream.cli.gather import Gatherer
from skimstream.cli.labels import Labels
from skimstream.cli.main import app
from skimstream.cli.models import load_model
from skimstream.consumer.board import read_nights, read_offsets, read_top
from skimstream.consumer.config import load_settings
from skimstream.consumer.run import run
from skimstream.consumer.streams.lsst import Lsst
from skimstream.consumer.streams.lsst_fields import NUMBERS, window
from skimstream.producer.archive import messages
from skimstream.producer.replay import replay
from skimstream.producer.send import Sender
from skimstream.schemas.columns import Columns
from skimstream.schemas.decode import Decoder
from skimstream.schemas.registry import Registry
from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.flux import FluxWindow, flux_curves
from skimstream.scoring.features.lightcurve import curve_features
from skimstream.scoring.model import Model
from stage.listed import Listed, Topic, learned, recorder

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lsst"
ELASTICC = DATA / "elasticc_v0_9_5607.tar.gz"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs ../shared")

Point = tuple[float, int]
Points = dict[Point, tuple[float, float]]


@cache
def elasticc() -> list[bytes]:
    """In the order of time, as the names of the members are."""
    with tarfile.open(ELASTICC) as tar:
        return [file.read() for member in tar if (file := tar.extractfile(member)) is not None]


@cache
def decoded() -> Columns:
    found = Decoder(Lsst.wanted, "auto").decode(elasticc())
    assert not found.rejected
    return found.columns


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """As `skim train lsst` makes it."""
    folder = tmp_path_factory.mktemp("lsst")
    files = [ELASTICC, DATA / "fink_broker_rubin_raw_60.tar.gz"]
    options = ["--trees", "20", "--parts", "frozen,online", "--report", folder / "report", "-o", folder / "model"]
    handlers = logging.root.handlers[:]
    done = CliRunner().invoke(app, ["train", "lsst", *map(str, (*files, *options))])
    logging.root.handlers[:] = handlers  # the command's own writes to what is closed now
    assert done.exit_code == 0, done.output
    assert "5667 records, 2660 scorable" in done.output
    assert "35 gated, 2972 too_few_points; 0 unreadable" in done.output
    assert (folder / "report" / "report.html").stat().st_size > 1_000
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    assert manifest["training"]["nights"] == ["2022-02-06", "2025-04-11"]
    assert manifest["metrics"]["test"]["rows"] == 665
    return load_model("lsst", folder / "model")


def test_without_a_model_it_says_how_to_get_one() -> None:
    with pytest.raises(ModelError, match="skim train lsst ALERTS… -o my-model"):
        load_model("lsst", None)


def objects() -> list[str]:
    return [Lsst().object_id(decoded(), row) for row in range(len(decoded()))]


def packets(made: FluxWindow) -> Iterator[Points]:
    """Each alert's own rows."""
    rows = list(zip(made.jd.tolist(), made.band.tolist(), made.flux.tolist(), made.sigma.tolist(), strict=True))
    for start, stop in itertools.pairwise(made.offsets.tolist()):
        yield {(jd, band): (flux, sigma) for jd, band, flux, sigma in rows[start:stop]}


def features_of(curves: Sequence[Points]) -> bytes:
    """Of light curves that are at hand whole."""
    rows = [(*place, *point) for curve in curves for place, point in sorted(curve.items())]
    jd, band, flux, sigma = (np.array(column) for column in zip(*rows, strict=True))
    offsets = np.cumsum([0, *map(len, curves)])
    found = curve_features(flux_curves(FluxWindow(offsets, jd, flux, sigma, band), NUMBERS))
    values = np.where((found.detections >= 4)[:, :, None], found.values, np.nan)
    return values[~np.isnan(values).all(axis=(1, 2))].tobytes()


def remembered(columns: Columns, batch: int, points: int = 200) -> bytes:
    """Features in state mode, batch by batch."""
    state = Lsst(history="state", points=points).open()
    parts = []
    for at in range(0, len(columns), batch):
        part = columns.take(np.arange(at, min(at + batch, len(columns))))
        assert state.entities is not None
        state.entities.saved()
        state.entities.admit(state.keys(part))
        parts.append(state.features(part).matrix.tobytes())
    return b"".join(parts)


def test_a_replay_over_754_nights_has_each_objects_full_light_curve() -> None:
    columns = decoded()
    own, names, now = list(packets(window(columns))), objects(), columns.number("diaSource.midpointMjdTai").tolist()
    assert (len(own), len(set(names)), len({int(time) for time in now})) == (5_607, 515, 754)
    assert now == sorted(now)
    whole: dict[str, Points] = defaultdict(dict)
    for name, points in zip(names, own, strict=True):
        whole[name] |= points
    full = [
        {place: point for place, point in whole[name].items() if place[0] <= time}
        for name, time in zip(names, now, strict=True)
    ]
    assert sum(len(curve) > len(packet) for curve, packet in zip(full, own, strict=True)) == 239  # beyond the packet
    expected = features_of(full)
    assert remembered(columns, 500) == expected
    packet_mode = Lsst().open().features(columns)
    assert (len(packet_mode.rows), packet_mode.unscored["too_few_points"]) == (2_653, 2_954)
    assert packet_mode.matrix.tobytes() == features_of(own) != expected


def test_packets_without_their_history_are_made_up_for() -> None:
    """Only an object's first alert brings one: the state is the union of that and of the alerts since."""
    columns = decoded()
    offsets, history = columns.table("prvDiaSources")
    names, sizes = objects(), np.diff(offsets)
    first = np.zeros(len(names), np.bool_)
    first[np.unique(names, return_index=True)[1]] = True
    bounds = np.concatenate([[0], np.cumsum(np.where(first, sizes, 0))])
    earlier = history.take(np.flatnonzero(np.repeat(first, sizes)))
    short = replace(columns, tables={**columns.tables, "prvDiaSources": (bounds, earlier)})
    union: dict[str, Points] = defaultdict(dict)
    curves = []
    for name, points in zip(names, packets(window(short)), strict=True):
        union[name] |= points
        curves.append(dict(union[name]))
    expected = features_of(curves)
    assert remembered(short, 700) == expected
    assert Lsst().open().features(short).matrix.tobytes() != expected


def test_training_remembers_as_a_worker_does_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    few = elasticc()[:800]
    for number, place in enumerate(np.random.default_rng(5).permutation(len(few)).tolist()):
        (tmp_path / f"{number:03}.avro").write_bytes(few[place])
    gatherer = Gatherer(Lsst(history="state"), Labels())
    assert list(gatherer.files([tmp_path]))[-1] == 800
    expected = remembered(decoded().take(np.arange(800)), 50)
    width = 8 * len(Lsst.features)
    rows = (expected[at : at + width] for at in range(0, len(expected), width))
    # Several alerts share a time; among those the order is the files'.
    assert sorted(row.tobytes() for row in gatherer.examples().matrix) == sorted(rows)


def test_a_worker_that_is_replaced_half_way_leaves_the_same_board(store: redis.Redis, model: Model) -> None:
    events = elasticc()[:1_000]
    for name, stops in (("whole", [len(events)]), ("parted", [400, len(events)])):
        for stop in stops:
            worker = recorder(store, name, Lsst(history="state"), model=model)
            source = Listed(Topic({0: list(events[:stop])}), itertools.cycle([40, 3, 100]))
            worker.run(source, lambda source=source: source.done)  # type: ignore[misc]
    whole, parted = (
        {short: value for short, value in learned(store, name).items() if short.startswith(("top", "offsets"))}
        for name in ("whole", "parted")
    )
    assert whole == parted
    assert sum(short.startswith("top") for short in whole) > 20


def test_every_real_alert_goes_from_a_broker_to_a_board(
    broker: str, store: redis.Redis, store_url: str, model: Model
) -> None:
    """All of the survey's own wire, and its alerts in containers, with a gate and a least number that let all pass."""
    settings = load_settings(
        None,
        {
            "stream": "lsst",
            "topic": "alerts",
            "kafka": {"bootstrap": broker, "group": "g"},
            "redis": {"url": store_url},
            "metrics": {"port": 0},
            "registry": {"folder": DATA / "schemas"},
            "lsst": {"min_reliability": 0.0, "min_points": 1},
        },
    )
    files = [DATA / "wire", DATA / "wire_tiny", DATA / "fink_broker_rubin_raw_60.tar.gz"]
    with Sender({"bootstrap.servers": broker}) as sender:
        assert replay(messages(files), sender, "alerts").sent == 71
    deadline = time.monotonic() + 60

    def done() -> bool:
        return sum(read_offsets(store, "lsst").values()) == 71 or time.monotonic() > deadline

    tally = run(settings, model, done).tally
    assert tally.consumed == 71
    assert tally.dead == {"schema_unknown": 1, "invalid": 3}  # id 12345; times in seconds
    assert tally.scored == 67
    nights = {night: read_top(store, "lsst", night, 100) for night in read_nights(store, "lsst")}
    # An object has one row a night, and one source is there in two versions.
    assert {night: len(rows) for night, rows in nights.items()} == {
        **{"2016-03-06": 20, "2025-04-11": 20, "2025-09-05": 20},
        **{"2025-08-15": 1, "2025-10-12": 1, "2026-09-30": 1},
    }
    objects = {row["object"] for rows in nights.values() for row in rows}
    wire = {"25401295582003262", "3527242430321524769", "396841724149801", "7912941781254298", "281323062375219200"}
    assert wire <= objects
    assert {"21164719644750924", "21164715316492612"} <= objects  # of the solar system
    reasons = [reason["words"] for rows in nights.values() for row in rows for reason in row["reasons"]]
    assert any("nJy" in words for words in reasons)


def test_what_the_defaults_make_of_the_same_alerts() -> None:
    decoder = Decoder(Lsst.wanted, "auto", registry=Registry(folder=DATA / "schemas"))
    found = {}
    for name in ("wire", "wire_tiny", "fink_broker_rubin_raw_60.tar.gz"):
        columns = decoder.decode([data for _, data in messages([DATA / name])]).columns
        wrong = {row for row, _ in Lsst().check(columns)}
        good = columns.take(np.array([row for row in range(len(columns)) if row not in wrong], np.int64))
        features = Lsst().open().features(good)
        found[name] = {"scored": len(features.rows), **{name: n for name, n in features.unscored.items() if n}}
    assert found == {
        "wire": {"scored": 0, "gated": 2, "too_few_points": 2},
        "wire_tiny": {"scored": 0, "too_few_points": 3},
        "fink_broker_rubin_raw_60.tar.gz": {"scored": 7, "gated": 35, "too_few_points": 18},
    }
