"""`skim evaluate --labels`: the scores are those that workers gave, and only what is known is judged."""

import json
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from skimstream.cli.gather import Gatherer
from skimstream.cli.known import Known, of_file
from skimstream.cli.labels import LabelError, Labels
from skimstream.cli.main import app
from skimstream.cli.rescored import Rescored
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.consumer.label import Label
from skimstream.consumer.stored import stored
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.event import Simulated, truth_message
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.decode import Decoder
from skimstream.scoring.train import Options, train
from stage.listed import Listed, Topic, model_of, recorder

START = datetime(2026, 11, 1, tzinfo=UTC)


@cache
def sessions() -> list[Simulated]:
    return list(simulate_sessions(4, START, 900, 30, 30.0, 0.05))


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def last_line(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def written(broker: str) -> str:
    """A mock cluster with `behaviour`, of two partitions, and what was injected in `behaviour.truth`."""
    schema, producer = load("behaviour"), Producer({"bootstrap.servers": broker, "log_level": 0})
    for topic in ("behaviour", "behaviour.truth"):
        producer.list_topics(topic, timeout=10)  # makes it
    for one in sessions():
        number = sum(one.key.encode()) % 2
        producer.produce("behaviour", plain(one.record, schema), one.key, number)
        if one.truth is not None:
            producer.produce("behaviour.truth", truth_message(one), one.key, 0)
    producer.flush(10)
    return broker


def test_scores_are_those_that_workers_gave(written: str, store: redis.Redis) -> None:
    options = {"bootstrap.servers": written, "log_level": 0, "fetch.wait.max.ms": 10}
    messages = list(stored(options, "behaviour"))
    partitions = {n: [one.value() for one in messages if one.partition() == n] for n in (0, 1)}
    source = Listed(Topic(partitions), repeat(70))
    worker = recorder(store, "judged")
    worker.run(source, lambda: source.done)

    stream = Behaviour()
    rescored = Rescored(stream, model_of("behaviour"), ordered=True)
    gatherer = Gatherer(stream, Labels(), rescored.heard)
    for _ in gatherer.topic(messages, Decoder(stream.wanted, "plain", stream.schema())):
        pass
    known = Known({one.event_id: Label(one.event_id, one.truth is not None) for one in sessions()})
    judged, matched = rescored.judged(known, 0.0, -np.inf, np.inf, set())
    assert matched == len(sessions())
    given = [np.frombuffer(score)[0] for _, _, score in sorted(worker.emitted, key=lambda one: one[:2])]
    assert len(given) == len(sessions())
    assert judged.score.tolist() == given
    assert Counter(judged.anomaly.tolist()) == Counter(one.truth is not None for one in sessions())


def test_labels_of_a_topic_and_of_a_file_give_the_same(written: str, tmp_path: Path) -> None:
    told = last_line(
        evaluate("behaviour", "--kafka", written, "--labels-topic", "behaviour.truth", "--top", 5, "--threshold", 0.9)
    )
    anomalies = [one for one in sessions() if one.truth is not None]
    latest = max(one.event_time for one in anomalies)
    judged = sum(one.event_time <= latest for one in sessions())
    assert (told["events"], told["anomalies"], told["unlabelled"]) == (judged, len(anomalies), "ordinary")
    assert told["labels"] == {"given": len(anomalies), "matched": len(anomalies), "unreadable": 0}
    assert told["roc_auc"][0] > 0.9
    assert told["parts"]["frozen"]["events"] == judged

    file = tmp_path / "labels.csv"
    rows = [f"{one.event_id},1,{datetime.fromtimestamp(one.event_time, UTC).isoformat()}" for one in anomalies]
    file.write_text("\n".join(["event_id,label,time", *rows]))
    done = evaluate("behaviour", "--kafka", written, "--labels", file, "--top", 5, "--threshold", 0.9)
    assert last_line(done) == told
    assert f"{judged:,} events judged" in done.stdout

    night = told["window"][1]
    one = last_line(evaluate("behaviour", "--kafka", written, "--labels", file, "--night", night, "--json"))
    assert one["window"] == [night, night]
    assert 0 < one["events"] < judged
    later = last_line(evaluate("behaviour", "--kafka", written, "--labels", file, "--from", night, "--json"))
    before = last_line(evaluate("behaviour", "--kafka", written, "--labels", file, "--until", night, "--json"))
    assert later["events"] + before["events"] == judged


OWN = """
[stream.pay]
key = "card"
event = "number"
time = "when"
time_format = "seconds"
numbers = ["amount"]
labels = { field = "fraud", event_time = "paid", delay = "1h" }
"""


def test_labels_among_the_events(tmp_path: Path) -> None:
    rng, lines, began = np.random.default_rng(1), list[dict[str, Any]](), 1_790_000_000
    for number in range(1_500):
        odd = number % 50 == 49
        paid = began + 600 * number
        amount = float(rng.lognormal(3, 0.1)) * (20 if odd else 1)
        lines.append({"number": f"p{number}", "card": f"c{number % 20}", "when": paid, "amount": amount})
        known = {
            "number": f"p{number}",
            "card": f"c{number % 20}",
            "when": paid + 7_200,
            "paid": paid,
            "fraud": int(odd),
        }
        lines += [known] if number < 1_400 and number % 5 == 4 else []
    config, events = tmp_path / "skim.toml", tmp_path / "pay.jsonl"
    config.write_text(OWN)
    events.write_text("\n".join(map(json.dumps, lines)))
    stream = configured_stream(load_settings(config, {}))
    columns = Decoder(stream.wanted, "json").decode([json.dumps(one).encode() for one in lines]).columns
    matrix = stream.open().features(columns).matrix
    model = train("pay", stream.features, stream.units, matrix, options=Options(10))
    model.save(tmp_path / "model")
    given = ["pay", "-c", config, "--model", tmp_path / "model", events]
    told = last_line(evaluate(*given))
    assert (told["events"], told["anomalies"], told["unlabelled"]) == (280, 28, "left out")
    assert told["roc_auc"][0] > 0.99

    complaints = tmp_path / "complaints.jsonl"
    complaints.write_text(
        "\n".join(json.dumps({"event_id": f"p{n}", "time": began + 600 * n}) for n in range(49, 1_400, 50))
    )
    told = last_line(evaluate(*given, "--labels", complaints))
    # What is younger than the delay before the last complaint may still become one.
    assert (told["events"], told["anomalies"], told["unlabelled"]) == (1_400 - 6, 27, "ordinary")

    complaints.write_text('{"event_id": "x"}\n{"event_id": ""}')
    done = evaluate(*given, "--labels", complaints)
    assert "line 2: a label without event_id" in str(done.exception)
    complaints.write_text('{"event_id": "x"}')
    done = evaluate(*given, "--labels", complaints)
    assert isinstance(done.exception, LabelError)
    assert "1 labels, 0 of them of these events; 1500 ordinary events to judge" in str(done.exception)


def test_the_latest_label_of_an_event_counts(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("event_id,label,time\na,1,60\nb,0,60\na,0,120\nb,1,30\nc,1,\n")
    found = of_file(file, "seconds").labels
    assert {name: one.anomaly for name, one in found.items()} == {"a": False, "b": False, "c": True}
