"""A stream of one's own, from its TOML file to the board: mock cluster, real Valkey, restarts."""

import csv
import io
import itertools
import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Producer
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.consumer.address import Address
from skimstream.consumer.board import read_offsets, read_top
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.consumer.run import run
from skimstream.consumer.streams.base import Stream
from skimstream.schemas.decode import Decoder
from skimstream.scoring.model import Model
from skimstream.scoring.train import Options, train
from stage.listed import Listed, Topic, learned, recorder

TOML = """
[kafka]
group = "g"

[stream.payments]
key = "card"
event = "number"
time = "when"
numbers = ["amount"]
categories = ["channel"]
entities = ["shop"]
integers = ["shop"]
half_lives = ["6h", "7d"]
units = { amount = "EUR" }
gates = ["amount > 0", "status != 'test'"]
kept = 50
"""


def payments(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Cards with habits; a few amounts far beyond them, a few that no gate lets through."""
    rng = np.random.default_rng(seed)
    habit = rng.uniform(5, 80, 60)
    made, now = [], np.datetime64("2026-11-01T00:00:00")
    for number in range(count):
        now += np.timedelta64(int(rng.integers(5, 200)), "s")
        card = int(rng.integers(60))
        made.append(
            {
                "number": f"p{number}",
                "card": f"card-{card}",
                "shop": int(rng.integers(200)),
                "when": f"{now}Z",
                "amount": round(float(habit[card] * rng.lognormal(0, 0.2) * (30 if number % 400 == 399 else 1)), 2),
                "channel": ["web", "shop", "phone"][int(rng.integers(3))],
                "status": "test" if number % 50 == 7 else "paid",
            }
        )
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "skim.toml"
    file.write_text(TOML)
    return file


LABELS = 'labels = { field = "fraud", event_time = "paid", delay = "1h" }\n'


def labelled(events: list[dict[str, Any]], ago: int = 200) -> list[dict[str, Any]]:
    """With a label in between now and then, of an event that many before."""
    made = []
    for number, one in enumerate(events):
        made.append(one)
        if number >= ago and number % 10 == 0:
            old = events[number - ago]
            label = {"number": old["number"], "card": old["card"], "shop": old["shop"], "paid": old["when"]}
            made.append({**label, "when": one["when"], "fraud": int(old["shop"] % 7 == 0)})
    return made


def stream_in(config: Path) -> Stream:
    return configured_stream(load_settings(config, {}))


def encoded(events: list[dict[str, Any]]) -> list[bytes | None]:
    return [json.dumps(one).encode() for one in events]


def trained(stream: Stream, events: list[dict[str, Any]]) -> Model:
    columns = Decoder(stream.wanted, "json").decode(encoded(events)).columns
    return train(
        stream.name, stream.features, stream.units, stream.open().features(columns).matrix, options=Options(20)
    )


def reached(source: Listed, stop: int) -> bool:
    return source.done or source.positions.get(0, 0) >= stop


def test_restarts_and_batches_change_no_bit(config: Path, store: redis.Redis) -> None:
    config.write_text(TOML + LABELS)
    stream, events = stream_in(config), payments(2_600)
    model = trained(stream, labelled(events[:1_300]))
    messages = encoded(labelled(events[1_300:]))
    messages[300:300] = [b"rubbish", b'{"card": "c", "number": "x", "when": "2026-11-09", "amount": "1"}']
    topic = Topic({0: messages})
    whole = recorder(store, "whole", stream, model=model)
    source = Listed(topic, itertools.repeat(500))
    whole.run(source, lambda: source.done)
    whole.dropped(Address("t", 0), lost=False)
    tally = whole.tally
    assert (tally.consumed, tally.unscored, sum(tally.dead.values())) == (1_412, {"gate": 26, "label": 110}, 2)

    emitted = []
    for stop in (90, 700, 1_100, 1_412):  # a fresh worker each time, which goes on from the checkpoint
        worker = recorder(store, "pieced", stream_in(config), model=model)
        source = Listed(topic, itertools.cycle([1, 50, 170]))
        worker.run(source, partial(reached, source, stop))
        worker.dropped(Address("t", 0), lost=False)
        emitted += worker.emitted
    assert emitted == whole.emitted
    assert len(emitted) == 1_274
    boards = [rows for name, rows in learned(store, "whole").items() if name.startswith("details:")]
    risks = [json.loads(one)["features"]["shop: risk over 7 d"] for rows in boards for one in rows.values()]
    assert max(risks) > 0.5
    assert learned(store, "pieced") == learned(store, "whole")


def test_few_keys_in_memory_and_the_rest_in_redis_change_no_bit(config: Path, store: redis.Redis) -> None:
    stream, events = stream_in(config), payments(1_800)
    model = trained(stream, events[:1_100])
    emitted = []
    for name, capacity in (("roomy", 100_000), ("tight", 40)):  # of 60 cards and 200 shops
        kind: Any = stream_in(config)
        kind.capacity = capacity
        source = Listed(Topic({0: encoded(events[1_100:])}), itertools.repeat(25))
        # Without a checkpoint in between, until what changed doesn't fit beside a batch's keys, two an event.
        worker = recorder(store, name, kind, model=model, checkpoint_seconds=1e9)
        worker.run(source, lambda source=source: source.done)  # type: ignore[misc]
        emitted.append(worker.emitted)
    assert emitted[0] == emitted[1]


def test_from_toml_and_csv_to_the_board(config: Path, broker: str, store: redis.Redis, store_url: str) -> None:
    events, runner = payments(2_800), CliRunner()
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, events[0])
    writer.writeheader()
    writer.writerows(events[:2_000])
    file = config.parent / "payments.csv"
    file.write_text(table.getvalue())
    given = ["train", "payments", "--config", config, file, "-o", config.parent / "model", "--trees", 30]
    done = runner.invoke(app, [str(one) for one in given])
    assert done.exit_code == 0, done.output
    assert "2000 records, 1960 scorable" in done.stderr
    manifest = json.loads((config.parent / "model" / "manifest.json").read_text())
    assert manifest["training"]["definition"]["gates"] == ["amount > 0", "status != 'test'"]
    untrained = runner.invoke(app, ["run", "payments", "--config", str(config)])
    assert "skim train payments --config FILE" in str(untrained.exception)

    config.write_text(TOML.replace("kept = 50", 'kept = 50\nmodel = "model"'))
    servers = {"kafka": {"bootstrap": broker}, "redis": {"url": store_url}, "metrics": {"port": 0}}
    settings = load_settings(config, servers)
    assert (settings.stream, settings.model, settings.board.kept) == ("payments", config.parent / "model", 50)
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    producer.list_topics("payments", timeout=10)
    for one in encoded(events):
        producer.produce("payments", one, b"k")
    producer.flush(10)

    stop, model = threading.Event(), Model.load(config.parent / "model")
    deadline = threading.Timer(60, stop.set)
    deadline.start()
    report = run(settings, model, lambda: stop.is_set() or sum(read_offsets(store, "payments").values()) == 2_800)
    deadline.cancel()
    assert (report.tally.scored, report.tally.unscored) == (2_744, {"gate": 56})
    night = events[2_399]["when"][:10]
    top = read_top(store, "payments", night, 100)
    assert len(top) <= 50
    assert "p2399" in [one["event"] for one in top[:5]]
    odd = next(one for one in top if one["event"] == "p2399")
    words = [reason["words"] for reason in odd["reasons"]]
    assert words[0].startswith("card: amount over its mean 46.55: above 99"), words
    assert odd["candidate"]["shop"] == events[2_399]["shop"]
    where = ["--config", str(config), "--redis", store_url]
    done = runner.invoke(app, ["models", "activate", str(config.parent / "model"), *where])
    assert f"{model.id} is in force for payments" in done.stderr
    assert f"in force: {model.id}" in runner.invoke(app, ["models", "list", "payments", *where]).stdout
    undefined = runner.invoke(app, ["models", "activate", str(config.parent / "model"), "--redis", store_url])
    assert "needs --config" in str(undefined.exception)
    shown = runner.invoke(app, ["top", "payments", "--redis", store_url, "--night", night, "-n", "3"])
    assert "card-" in shown.stdout
    told = runner.invoke(app, ["explain", "payments", odd["object"], "--redis", store_url, "--night", night])
    assert f"{odd['object']}, rank" in told.stdout
    assert "above 99" in told.stdout
