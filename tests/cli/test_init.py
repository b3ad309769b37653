"""`skim init`: what it guesses of samples, that the file it writes loads, and what it refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from skimstream.cli.guess import NothingToGuess, guess
from skimstream.cli.init import FileIsThere, kafka_of
from skimstream.cli.main import app
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.schemas.errors import SkimError
from skimstream.scoring.refusals import ID_NAME


def events(count: int = 300) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [
        {
            "transaction_id": 10_000_000_000 + 17 * i,
            "customer_id": int(rng.integers(40)),
            "terminal_id": int(rng.integers(100)),
            "created": 1_790_000_000_000 + 60_000 * i,
            "amount": round(float(rng.lognormal(3)), 2),
            "mcc": int(rng.integers(5_000, 5_009)),
            "channel": ["web", "pos"][i % 2],
            "device_type": ["phone", "tablet", "PC"][i % 3],
            "currency": "EUR",
            "uuid": f"u{i // 3}",
            "note": None,
            "memo": f"paid for {i}",
            "is_fraud": int(i % 50 == 0),
        }
        for i in range(count)
    ]


def test_each_field_finds_its_place() -> None:
    made = guess(events())
    assert (made.key, made.event, made.time, made.time_format) == (
        "customer_id",
        "transaction_id",
        "created",
        "milliseconds",
    )
    assert (made.numbers, made.categories, made.entities) == (
        ["amount"],
        ["mcc", "channel", "device_type"],
        ["terminal_id"],
    )
    assert set(made.integers) == {"customer_id", "transaction_id", "terminal_id", "mcc"}
    assert made.resolution == {"amount": 0.01}
    assert set(made.left_out) == {"currency", "uuid", "note", "memo", "is_fraud"}
    assert not any(ID_NAME.search(name) for name in made.numbers)


def test_what_a_person_says_goes_before_what_is_guessed() -> None:
    made = guess(events(), key="terminal_id")
    assert made.key == "terminal_id"
    with pytest.raises(NothingToGuess, match="--time: one of"):
        guess([{"user": f"u{i % 5}", "x": i / 7} for i in range(50)])
    with pytest.raises(NothingToGuess, match="--key"):
        guess([{"at": "2026-11-21", "x": i / 7} for i in range(50)])
    with pytest.raises(NothingToGuess, match="looks like the key"):
        guess(events(), key="nobody")


def write(folder: Path, kind: str) -> Path:
    file, rows = folder / f"payments.{kind}", events()
    if kind == "csv":
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_file_that_it_writes_loads_and_trains(tmp_path: Path, kind: str) -> None:
    out, sample = tmp_path / "skim.toml", write(tmp_path, kind)
    done = CliRunner().invoke(app, ["init", "payments", str(sample), "-o", str(out)])
    assert done.exit_code == 0, done.output
    settings = load_settings(out, {})
    stream = configured_stream(settings)
    assert (stream.name, stream.key_field, settings.topic) == ("payments", "customer_id", "payments")
    assert "customer_id: z-score of amount" in stream.features
    assert "# 40 different ones come again and again" in out.read_text()
    with pytest.raises(FileIsThere):
        CliRunner().invoke(app, ["init", "payments", str(sample), "-o", str(out)], catch_exceptions=False)
    refused = CliRunner().invoke(app, ["train", "payments", "-c", str(out), str(sample), "-o", str(tmp_path / "model")])
    assert "300 scorable rows; training needs 1000" in str(refused.exception)


def test_a_topic_tells_its_framing(tmp_path: Path, broker: str) -> None:
    out = tmp_path / "skim.toml"
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    producer.list_topics("paid", timeout=10)
    for one in events(120):
        producer.produce("paid", json.dumps(one).encode())
    producer.produce("paid", b"rubbish")
    producer.flush(10)
    done = CliRunner().invoke(app, ["init", "payments", "--topic", "paid", "--kafka", broker, "-o", str(out)])
    assert done.exit_code == 0, done.output
    settings = load_settings(out, {})
    assert (settings.framing, settings.topic, settings.kafka.bootstrap) == ("json", "paid", broker)
    assert "Guessed from 120 records" in out.read_text()


@pytest.mark.parametrize(("name", "epoch", "form"), [("mjd", 40_587.0, "mjd"), ("obs_time", 2_440_587.5, "jd")])
def test_days_are_times_where_the_name_says_so(name: str, epoch: float, form: str) -> None:
    seconds = 1_795_392_000.0
    sample = [{"object": f"o{i % 9}", "flux": i % 7 * 1.5, name: epoch + (seconds + i) / 86_400} for i in range(90)]
    found = guess(sample, "", "")
    assert (found.time, found.time_format) == (name, form)
    with pytest.raises(NothingToGuess):
        guess([{"object": one["object"], "number": one[name]} for one in sample], "", "")


def test_a_preset_stands_for_its_brokers() -> None:
    said, mine = 'preset = "gcn"  # its login: skim presets gcn', {"kafka": {"bootstrap": "b:1"}}
    assert kafka_of(load_settings(None, {"preset": "gcn"}), "g") == [said]
    assert kafka_of(load_settings(None, {"preset": "gcn", **mine}), "g") == [said, "[kafka]", 'bootstrap = "b:1"']
    assert kafka_of(load_settings(None, mine), "g") == ["[kafka]", 'bootstrap = "b:1"', 'group = "g"']


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("payments",), "one of the two"), (("ztf", "FILE"), "skimstream's own"), (("Pay ments", "FILE"), "no name")],
)
def test_what_it_refuses(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    sample = str(write(tmp_path, "jsonl"))
    done = CliRunner().invoke(app, ["init", *(sample if one == "FILE" else one for one in arguments)])
    assert done.exit_code != 0
    said = str(done.exception) if isinstance(done.exception, SkimError) else done.output
    assert word in " ".join(said.replace("│", " ").split())
