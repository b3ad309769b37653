"""Real alerts as they travel, through their presets from a broker to a board (LSST's are in test_lsst_stream.py)."""

import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pytest
import redis

from brokers.mock import MockCluster
from skimstream.cli.models import load_model
from skimstream.consumer.board import read_nights, read_offsets, read_top
from skimstream.consumer.config import load_settings
from skimstream.consumer.run import run
from skimstream.consumer.tally import Tally
from skimstream.producer.archive import messages
from skimstream.producer.send import Sender

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs ../shared")
ZTF = ("mixed_versions_59.tar.gz", "kowalski_v3.3_v4.01_36.tar.gz", "burst_20181129_v3.2_263.tar.gz")


class Sent(NamedTuple):
    value: bytes
    key: bytes | None = None


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def through(preset: str, topic: str | None, sent: Sequence[Sent], broker: str, store: redis.Redis, url: str) -> Tally:
    """Run the preset's own settings, but for the broker, until all is read; send as the worker takes it.

    topic: where the preset has none; ZTF's is tonight's.
    """
    settings = load_settings(
        None,
        {
            "preset": preset,
            **({"topic": topic} if topic else {}),
            "kafka": {"bootstrap": broker, "options": {"security.protocol": "PLAINTEXT"}},
            "redis": {"url": url},
            "metrics": {"port": 0},
        },
    )
    assert settings.framing == {"ztf": "container", "fink-ztf": "key"}[preset]
    name = settings.topics.now()[0]
    handed, over = 0, threading.Event()

    def taken() -> int:
        return sum(read_offsets(store, "ztf").values())

    def send() -> None:
        nonlocal handed

        def pace(*_: object) -> bool:  # the mock keeps 5 MB a partition
            nonlocal handed
            wait_for(lambda: handed - taken() < 40 or over.is_set())
            handed += 1
            return True

        with Sender({"bootstrap.servers": broker}, pace=pace) as sender:
            for one in sent:
                sender.send(name, one.value, key=one.key)

    sending = threading.Thread(target=send)
    sending.start()
    deadline = time.monotonic() + 120
    try:
        tally = run(
            settings, load_model("ztf", None), lambda: taken() == len(sent) or time.monotonic() > deadline
        ).tally
    finally:
        over.set()
        sending.join(30)
    assert tally.consumed == len(sent)
    assert tally.consumed == tally.scored + sum(tally.unscored.values()) + sum(tally.dead.values())
    return tally


def on_board(store: redis.Redis) -> dict[str, set[str]]:
    return {
        night: {row["object"] for row in read_top(store, "ztf", night, 1_000)} for night in read_nights(store, "ztf")
    }


@cache
def records(name: str) -> list[dict[str, Any]]:
    """Each alert by fastavro."""
    values = [value for _, value in messages([DATA / "ztf" / name])]
    return [dict(record) for value in values for record in fastavro.reader(io.BytesIO(value))]  # type: ignore[arg-type]


def test_every_version_of_ztf(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    name = ZTF[0]
    sent = [Sent(value) for _, value in messages([DATA / "ztf" / name])]
    tally = through("ztf", None, sent, mock_cluster.bootstrap, store, store_url)
    versions = {str(one.get("schemavsn")) for one in records(name)}
    assert versions == {"None", "2.0", "3.0", "3.1", "3.2", "3.3", "3.5", "4.02"}
    assert (tally.scored, tally.dead) == (21, {})
    assert tally.unscored == {"gated": 16, "too_few_points": 18, "no_object_id": 4}
    # ZTF17aaajnnn is one alert in four versions.
    assert on_board(store) == {
        "2016-08-31": {"ZTF18aaaaaah", "ZTF18aaaaaab", "ZTF18aaaaaak"},
        "2018-04-17": {"ZTF17aaajnnn"},
        "2018-05-31": {"ZTF18aasnowh", "ZTF18aaxcyzb"},
        "2018-06-25": {"ZTF18aazwchb", "ZTF18aayejno"},
        "2018-08-18": {"ZTF18abitniy", "ZTF18abifubd", "ZTF18abeagzr"},
        "2020-08-24": {"ZTF20absvber"},
        "2021-08-31": {"ZTF21abpiosb", "ZTF18abmsrfx", "ZTF19aayvyfa"},
        "2024-07-14": {"ZTF19aaxrois", "ZTF19aayzasw", "ZTF19aaococq", "ZTF19abaqdsg"},
        "2025-03-01": {"ZTF17aaarzyp"},
        "2025-03-24": {"ZTF18acullba"},
    }


@pytest.mark.nightly
def test_all_of_ztf(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    sent = [Sent(value) for name in ZTF for _, value in messages([DATA / "ztf" / name])]
    tally = through("ztf", None, sent, mock_cluster.bootstrap, store, store_url)
    assert (tally.scored, tally.dead) == (82, {})
    assert tally.unscored == {"gated": 122, "too_few_points": 150, "no_object_id": 4}
    found = on_board(store)
    assert sum(map(len, found.values())) == 82
    assert len(found["2018-11-28"]) == 48  # the burst: three exposures, 40 s apart
    named = {str(one["objectId"]) for name in ZTF for one in records(name) if one.get("objectId")}
    assert set().union(*found.values()) <= named


def finks() -> list[Sent]:
    """Two as Fink's Kafka framed them, and their like: the schema is the key, the record alone the value."""
    folder = DATA / "fink" / "kafka_framing"
    real = [
        Sent(key.with_name(key.name.replace(".key.json", ".value.bin")).read_bytes(), key.read_bytes())
        for key in sorted(folder.glob("*.key.json"))
    ]
    found = []
    for file in sorted((DATA / "fink" / "ocf").glob("*.avro")):
        with file.open("rb") as stream:
            reader = fastavro.reader(stream)
            schema = json.loads(reader.metadata["avro.schema"])
            for record in reader:
                out = io.BytesIO()
                fastavro.schemaless_writer(out, schema, record)
                found.append(Sent(out.getvalue(), reader.metadata["avro.schema"].encode()))
    assert {one.value for one in real} <= {one.value for one in found}
    return found


def test_finks_framing(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    sent = finks()
    tally = through("fink-ztf", "fink_sn_candidates_ztf", sent, mock_cluster.bootstrap, store, store_url)
    assert len({one.key for one in sent}) == 2
    assert (tally.scored, tally.unscored, tally.dead) == (7, {"too_few_points": 5}, {})
    assert on_board(store) == {
        "2019-11-01": {"ZTF19aaflqpu", "ZTF18acrumis", "ZTF17aaahryg", "ZTF18aaacpxm", "ZTF18aabjigr", "ZTF18acefvuh"},
        "2019-11-14": {"ZTF18abvcdqu"},
    }
