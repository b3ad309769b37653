"""`skim train` from files and from a topic: what it reads, refuses, measures and writes."""

import csv
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner, Result

from skimstream.cli.gather import Gatherer
from skimstream.cli.labels import LabelError, Labels
from skimstream.cli.main import app
from skimstream.consumer.stored import stored
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.event import Simulated, truth_message
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.errors import SkimError
from skimstream.scoring.refusals import TrainingRefused

N = 2_000
START = datetime(2026, 11, 1, tzinfo=UTC)
Train = Callable[..., Result]


@cache
def sessions() -> list[Simulated]:
    return list(simulate_sessions(4, START, N, 100, 30.0, 0.05))


def write_csv(file: Path, events: list[Simulated], **columns: Callable[[Simulated], Any]) -> Path:
    rows = [one.record | {name: make(one) for name, make in columns.items()} for one in events]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return file


def is_anomaly(one: Simulated) -> int:
    return int(one.truth is not None)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """`skim train behaviour …`; errors of ours are raised."""

    def run(*arguments: object, trees: int = 60) -> Result:
        given = ["train", "behaviour", *map(str, arguments), "-o", str(tmp_path / "model"), "--trees", str(trees)]
        done = CliRunner().invoke(app, given)
        if isinstance(done.exception, SkimError):
            raise done.exception
        return done

    return run


def manifest(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "model" / "manifest.json").read_text())
    return found


def test_a_label_column_a_search_and_a_report(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"n_estimators": [60], "min_samples_leaf": [2, 3, 5]}
    monkeypatch.setattr("skimstream.scoring.search.space", lambda kind, rows, trees: small)
    file = write_csv(tmp_path / "events.csv", sessions(), label=is_anomaly)
    done = train(
        file,
        "--label-column",
        "label",
        "--report",
        tmp_path / "report",
        "--split",
        "grouped",
        "--search=1",
        "--folds=2",
    )
    assert done.exit_code == 0, done.output
    assert "recall" in done.stderr
    assert "best of 1 settings" in done.stderr
    training, test = manifest(tmp_path)["training"], manifest(tmp_path)["metrics"]["test"]
    assert training["rows"] == N
    assert (training["search"]["tried"], training["search"]["folds"]) == (1, 2)
    assert training["anomalies"] == sum(map(is_anomaly, sessions()))
    assert training["split"]["kind"] == "grouped"
    assert training["split"]["entities_on_both_sides"] == 0
    assert test["roc_auc"][1] <= test["roc_auc"][0] <= test["roc_auc"][2]
    assert test["roc_auc"][0] > 0.8
    assert "all normal" in (tmp_path / "report" / "comparison.csv").read_text()
    assert "<svg" in (tmp_path / "report" / "report.html").read_text()


def test_the_same_files_and_seed_give_the_same_model_in_whatever_order_the_rows_are(
    train: Train, tmp_path: Path
) -> None:
    identities = []
    for name, events in (("a", sessions()), ("b", sessions()[::-1])):
        train(write_csv(tmp_path / f"{name}.csv", events), "--split", "none")
        identities.append(manifest(tmp_path)["id"])
    assert manifest(tmp_path)["training"]["out_of_order"] > N / 2
    assert identities[0] == identities[1]


def test_a_column_made_from_the_label_is_refused_by_name(train: Train, tmp_path: Path) -> None:
    leaking = [
        Simulated(s.record | {"device_motion": 5.0 * is_anomaly(s)}, s.key, s.event_id, s.event_time, s.truth)
        for s in sessions()
    ]
    file = write_csv(tmp_path / "leak.csv", leaking, label=is_anomaly)
    with pytest.raises(TrainingRefused, match=r"device_motion alone reaches an AUC of 1\.0000"):
        train(file, "--label-column", "label")
    assert not (tmp_path / "model").exists()
    allowed = [f"--allow=label-derived:{name}" for name in ("device_motion", "device_motion_z")]
    assert "overridden: label-derived:device_motion" in train(file, "--label-column", "label", *allowed).stderr
    assert "label-derived:device_motion" in manifest(tmp_path)["training"]["overridden"]


def test_a_test_file_that_repeats_training_is_refused(train: Train, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "events.csv", sessions())
    again = write_csv(tmp_path / "again.csv", sessions()[-500:])
    with pytest.raises(TrainingRefused, match="500 of 500 test rows are identical"):
        train(file, "--test", again)


def test_a_test_file_of_its_own_is_measured(train: Train, tmp_path: Path) -> None:
    first = write_csv(tmp_path / "first.csv", sessions()[:1_500], label=is_anomaly)
    later = write_csv(tmp_path / "later.csv", sessions()[1_500:], label=is_anomaly)
    done = train(first, "--test", later, "--label-column", "label", "--final", "train")
    assert done.exit_code == 0, done.output
    found = manifest(tmp_path)
    assert found["training"]["split"] == {
        "kind": "given",
        "training_rows": 1_500,
        "test_rows": 500,
        "entities_on_both_sides": found["training"]["split"]["entities_on_both_sides"],
    }
    assert found["training"]["source"] == ["first.csv", "later.csv"]
    assert found["metrics"]["test"]["of"] == "this model"


def test_too_few_rows_train_unmeasured_unless_a_test_was_asked_for(train: Train, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "few.csv", sessions()[:1_200])
    assert "nothing is held back" in train(file).stderr
    assert manifest(tmp_path)["training"]["split"] is None
    with pytest.raises(SkimError, match="--split none"):
        train(file, "--split", "time")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "one of the two"),
        (("x.csv", "--topic", "t"), "one of the two"),
        (("x.csv", "--labels", "a", "--label-column", "b"), "not both"),
        (("--topic", "t", "--label-column", "b"), "--labels"),
        (("x.csv", "--test", "y.csv", "--split", "time"), "nothing to split"),
        (("x.csv", "--forest", "random"), "needs labels"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(train: Train, arguments: tuple[str, ...], word: str) -> None:
    done = train(*arguments)
    assert done.exit_code == 2
    assert word in " ".join(done.stderr.replace("│", " ").split())


def test_labels_that_cant_be_read_say_where(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "odd.csv", sessions()[:10], label=lambda one: "perhaps")
    gatherer = Gatherer(Behaviour(), Labels(column="label"))
    list(gatherer.files([file]))
    with pytest.raises(LabelError, match="label: 'perhaps' is neither"):
        gatherer.mark()
    with pytest.raises(LabelError, match="reads this field"):
        Gatherer(Behaviour(), Labels(column="click_events"))


def fill(bootstrap: str, topic: str, partitions: int, events: list[Simulated], rubbish: int = 0) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    schema = load("behaviour")
    for number, one in enumerate(events):
        when, partition = int(one.event_time * 1_000), sum(one.key.encode()) % partitions
        producer.produce(topic, plain(one.record, schema), one.key, partition=partition, timestamp=when)
        if number < rubbish:
            producer.produce(topic, b"rubbish", partition=0, timestamp=when)
    assert producer.flush(30) == 0


def test_a_topic_is_learned_from_and_nobodys_offsets_move(mock_cluster: Any, train: Train, tmp_path: Path) -> None:
    mock_cluster.create_topic("sessions", 2)
    fill(mock_cluster.bootstrap, "sessions", 2, sessions(), rubbish=3)
    labels = tmp_path / "truth"
    labels.write_bytes(b"\n".join(truth_message(one) for one in sessions() if one.truth))
    where = ("--topic", "sessions", "--kafka", mock_cluster.bootstrap, "--labels", labels)
    identities = []
    for _ in range(2):
        done = train(*where)
        assert done.exit_code == 0, done.output
        identities.append(manifest(tmp_path)["id"])
    found = manifest(tmp_path)
    assert found["training"]["source"] == ["sessions"]
    assert found["training"]["rows"] == N
    assert found["training"]["records"] == N + 3
    assert found["training"]["left_out"]["unreadable"] == 3
    assert found["training"]["anomalies"] == sum(map(is_anomaly, sessions()))
    assert found["metrics"]["test"]["rows"] == N // 4
    assert identities[0] == identities[1]
    consumer = Consumer({"bootstrap.servers": mock_cluster.bootstrap, "group.id": "skimstream-unused", "log_level": 0})
    committed = consumer.committed([TopicPartition("sessions", 0), TopicPartition("sessions", 1)], timeout=10)
    assert [one.offset for one in committed] == [-1001, -1001]
    consumer.close()


def test_of_one_partition_a_topic_gives_the_same_model_as_the_file(
    mock_cluster: Any, train: Train, tmp_path: Path
) -> None:
    mock_cluster.create_topic("one", 1)
    fill(mock_cluster.bootstrap, "one", 1, sessions())
    train(write_csv(tmp_path / "events.csv", sessions()), "--split", "none")
    from_file = manifest(tmp_path)["id"]
    train("--topic", "one", "--kafka", mock_cluster.bootstrap, "--split", "none")
    assert manifest(tmp_path)["id"] == from_file
    train("--topic", "one", "--kafka", mock_cluster.bootstrap, "--split", "none", "-n", 1_100)
    assert manifest(tmp_path)["training"]["rows"] == 1_100


def test_for_a_while_hears_what_comes_meanwhile(broker: str) -> None:
    options = {"bootstrap.servers": broker, "log_level": 0}
    producer = Producer(options)
    producer.produce("live", b"before", partition=0)
    assert producer.flush(30) == 0
    heard = stored(options, "live", 60.0)
    assert next(heard).value() == b"before"
    producer.produce("live", b"meanwhile", partition=1)
    assert producer.flush(30) == 0
    assert next(heard).value() == b"meanwhile"
    heard.close()
    began = time.monotonic()
    assert len(list(stored(options, "live", 2.0))) <= 2
    assert 2.0 <= time.monotonic() - began < 30
