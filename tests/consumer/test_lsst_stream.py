"""Real LSST alerts, and ELAsTiCC's: trained on, replayed over 754 nights, and from a broker to a board."""

import io
import itertools
import json
import logging
import tarfile
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, cast

import fastavro
import numpy as np
import pytest
import redis
from typer.testing import CliRunner

from brokers.mock import MockCluster
from skimstream.cli.gather import Gatherer
from skimstream.cli.labels import Labels
from skimstream.cli.main import app
from skimstream.cli.models import load_model
from skimstream.consumer.board import read_nights, read_offsets, read_top
from skimstream.consumer.config import Settings, load_settings
from skimstream.consumer.partition import Featured, Partition
from skimstream.consumer.run import run
from skimstream.consumer.streams.lsst import Lsst
from skimstream.consumer.streams.lsst_fields import NUMBERS, window
from skimstream.consumer.tally import Tally
from skimstream.consumer.work import Work
from skimstream.consumer.worker import Worker
from skimstream.producer.archive import messages
from skimstream.producer.replay import replay
from skimstream.producer.send import Sender
from skimstream.schemas.columns import Columns
from skimstream.schemas.decode import Decoder
from skimstream.schemas.registry import Registry
from skimstream.scoring.ensemble import Scores
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
    return b"".join(by_event(curves).values())


def by_event(curves: Sequence[Points]) -> dict[int, bytes]:
    """The same by the number of the curve; those that have none are left out."""
    rows = [(*place, *point) for curve in curves for place, point in sorted(curve.items())]
    jd, band, flux, sigma = (np.array(column) for column in zip(*rows, strict=True))
    offsets = np.cumsum([0, *map(len, curves)])
    found = curve_features(flux_curves(FluxWindow(offsets, jd, flux, sigma, band), NUMBERS))
    values = np.where((found.detections >= 4)[:, :, None], found.values, np.nan)
    some = np.flatnonzero(~np.isnan(values).all(axis=(1, 2)))
    return {event: values[event].tobytes() for event in some.tolist()}


def full_curves() -> list[Points]:
    """Of each ELAsTiCC alert all that its object had up to then."""
    own, now = packets(window(decoded())), decoded().number("diaSource.midpointMjdTai").tolist()
    whole: dict[str, Points] = defaultdict(dict)
    owned = list(zip(objects(), own, now, strict=True))
    for name, points, _ in owned:
        whole[name] |= points
    return [{place: one for place, one in whole[name].items() if place[0] <= time} for name, _, time in owned]


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
    full = full_curves()
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


def settings_of(preset: str, broker: str, url: str, **more: Any) -> Settings:
    """The preset's, but for brokers and login, and without the survey's registry."""
    kafka = {"bootstrap": broker, "group": "g", "options": {"security.protocol": "PLAINTEXT"}}
    here = {"redis": {"url": url}, "metrics": {"port": 0}, "registry": {"url": "", "folder": DATA / "schemas"}}
    return load_settings(None, {"preset": preset, "topic": "alerts", "kafka": kafka, **here, **more})


def read(store: redis.Redis) -> int:
    return sum(read_offsets(store, "lsst").values())


def tally_of(settings: Settings, model: Model, store: redis.Redis, count: int, seconds: float = 60.0) -> Tally:
    """All of it read by a worker, and accounted for."""
    deadline = time.monotonic() + seconds
    tally = run(settings, model, lambda: read(store) == count or time.monotonic() > deadline).tally
    assert tally.consumed == count
    assert tally.consumed == tally.scored + sum(tally.unscored.values()) + sum(tally.dead.values())
    return tally


def night(mjd: float) -> str:
    """From noon to noon."""
    return str(np.datetime64(int(mjd - 0.5 - 40_587), "D"))


def on_board(store: redis.Redis) -> dict[str, set[str]]:
    nights = read_nights(store, "lsst")
    return {night: {str(row["object"]) for row in read_top(store, "lsst", night, 1_000)} for night in nights}


def test_rubins_wire_goes_through_its_preset(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str, model: Model
) -> None:
    settings = settings_of("rubin", mock_cluster.bootstrap, store_url, lsst={"min_reliability": 0.0, "min_points": 1})
    assert (settings.framing, settings.stream) == ("confluent", "lsst")
    with Sender({"bootstrap.servers": mock_cluster.bootstrap}) as sender:
        assert replay(messages([DATA / "wire", DATA / "wire_tiny"]), sender, "alerts").sent == 11
    tally = tally_of(settings, model, store, 11)
    assert tally.dead == {"schema_unknown": 1, "invalid": 3}  # id 12345; times in seconds
    assert (tally.scored, tally.unscored) == (7, {})
    assert on_board(store) == {
        "2016-03-06": {"25401295582003262", "396841724149801"},  # 701, and 704: the precursor
        "2025-08-15": {"281323062375219200"},  # the made-up one, of 800, 900 and 1100
        "2025-10-12": {"7912941781254298"},  # 900
        "2026-09-30": {"3527242430321524769"},  # 703
    }


@pytest.mark.nightly
def test_finks_framing_of_lsst_goes_through_its_preset(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str, model: Model
) -> None:
    """215 alerts of three writer schemas, each as the key of its messages."""
    count, expected = 0, defaultdict[str, set[str]](set)
    with Sender({"bootstrap.servers": mock_cluster.bootstrap}) as sender:
        for file in sorted(DATA.glob("fink_broker_rubin_*.avro")):
            with file.open("rb") as stream:
                reader = fastavro.reader(stream)
                key = reader.metadata["avro.schema"]
                for record in reader:
                    out = io.BytesIO()
                    fastavro.schemaless_writer(out, json.loads(key), record)
                    sender.send("alerts", out.getvalue(), key=key)
                    count += 1
                    now = cast(dict[str, Any], record)["diaSource"]
                    named = now["diaObjectId"] or now["ssObjectId"] or now["diaSourceId"]
                    expected[night(now["midpointMjdTai"])].add(str(named))
    assert count == 215
    settings = settings_of(
        "fink-lsst", mock_cluster.bootstrap, store_url, lsst={"min_reliability": 0.0, "min_points": 1}
    )
    tally = tally_of(settings, model, store, count)
    assert (tally.scored, tally.dead) == (215, {})
    assert on_board(store) == expected
    assert {one: len(rows) for one, rows in expected.items()} == {"2016-03-06": 105, "2025-04-11": 54, "2025-09-05": 48}


class Noting(Worker):
    """Keeps the features of each event, by partition and offset."""

    features: ClassVar[dict[tuple[int, int], bytes]]

    def learn(self, partition: Partition, work: Work) -> tuple[Featured, Scores]:
        """As `Worker.learn`."""
        featured, scores = super().learn(partition, work)
        offsets = np.array(work.batch.offsets, np.int64)[work.index[featured.rows]].tolist()
        rows = [row.tobytes() for row in featured.matrix]
        self.features.update(zip(((work.batch.address.number, one) for one in offsets), rows, strict=True))
        return featured, scores


@pytest.mark.nightly
def test_elasticc_from_a_broker_to_a_board_over_754_nights(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str, model: Model
) -> None:
    """Keyed by object, in the order of time; what is scored is each object's full light curve up to then."""
    settings = settings_of("babamul", mock_cluster.bootstrap, store_url, stream="lsst", history={"mode": "state"})
    places: list[tuple[int, int]] = []
    held = [0] * 4
    names = objects()

    def send() -> None:
        with Sender({"bootstrap.servers": mock_cluster.bootstrap}) as sender:
            for value, name in zip(elasticc(), names, strict=True):
                while len(places) - read(store) > 400 and not over.is_set():  # the mock keeps 5 MB a partition
                    time.sleep(0.01)
                number = zlib.crc32(name.encode()) % 4  # as librdkafka's own partitioner
                places.append((number, held[number]))
                held[number] += 1
                sender.send("alerts", value, key=name, partition=number)

    over, Noting.features = threading.Event(), {}
    sending = threading.Thread(target=send)
    sending.start()
    deadline = time.monotonic() + 120
    try:
        over_at = lambda: read(store) == 5_607 or time.monotonic() > deadline  # noqa: E731
        tally = run(settings, model, over_at, make=Noting).tally
    finally:
        over.set()
        sending.join(30)
    assert (tally.consumed, tally.scored, tally.unscored) == (5_607, 2_653, {"too_few_points": 2_954})
    assert tally.dead == {}
    expected = by_event(full_curves())
    assert {places.index(place) for place in Noting.features} == expected.keys()
    assert all(Noting.features[places[event]] == row for event, row in expected.items())
    times = decoded().number("diaSource.midpointMjdTai")
    nights: dict[str, set[str]] = defaultdict(set)
    for event in expected:
        nights[night(times[event])].add(names[event])
    assert on_board(store) == nights
    assert (len(nights), sum(map(len, nights.values()))) == (616, 2_589)


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
