"""`skim lag`: what it says of a topic on the mock cluster and a board in Valkey."""

import json
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from brokers.mock import MockCluster
from skimstream.cli.begun import goes_on
from skimstream.cli.main import app
from skimstream.consumer.config import load_settings
from skimstream.consumer.lag import LagError
from skimstream.consumer.place import place_of
from skimstream.consumer.topics import Nightly

NIGHTS = "alerts_{date:%Y%m%d}"
ASK = ("lag", "behaviour", "--topic", "events")


def filled(cluster: MockCluster) -> str:
    """A topic `events` of 3 partitions with 10, 20 and 30 messages."""
    cluster.create_topic("events", 3)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    for partition, count in enumerate((10, 20, 30)):
        for _ in range(count):
            producer.produce("events", b"{}", partition=partition)
    assert producer.flush(20) == 0
    return cluster.bootstrap


def test_it_says_what_is_left_of_every_partition(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    servers = filled(mock_cluster)
    store.hset("skim:{behaviour}:offsets", mapping={"events/0": 10, "events/1": 4, "another/2": 5})
    store.hset("skim:{behaviour}:checkpoints", mapping={"events/0": "10:new:0", "events/1": "4:new:0"})
    told = Consumer({"bootstrap.servers": servers, "group.id": "skimstream", "log_level": 0})
    told.commit(offsets=[TopicPartition("events", 1, 3)], asynchronous=False)
    told.close()
    before = store.hgetall("skim:{behaviour}:offsets")
    ran = CliRunner().invoke(app, [*ASK, "--kafka", servers, "--redis", store_url, "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert (found["lag"], found["not_begun"], found["workers"]) == (16, 30, 0)
    asked = [[one[name] for name in ("name", "offset", "low", "high", "copy", "lag")] for one in found["partitions"]]
    assert asked == [
        ["events/0", 10, 0, 10, None, 0],
        ["events/1", 4, 0, 20, 3, 16],
        ["events/2", None, 0, 30, None, None],
    ]
    table = CliRunner().invoke(app, [*ASK, "--kafka", servers, "--redis", store_url]).stdout
    assert "no worker at it" in table
    assert "not begun: 30 messages" in table
    assert store.hgetall("skim:{behaviour}:offsets") == before


def test_of_a_topic_a_night_it_tells_the_nights(
    mock_cluster: MockCluster, store: redis.Redis, store_url: str, tmp_path: Path
) -> None:
    last, tonight = reversed(Nightly(NIGHTS, 2).now())
    mock_cluster.create_topic(last, 1)  # tonight's isn't there yet
    producer = Producer({"bootstrap.servers": mock_cluster.bootstrap, "log_level": 0})
    producer.produce(last, b"{}", partition=0)
    assert producer.flush(20) == 0
    store.hset("skim:{behaviour}:offsets", f"{last}/0", 0)
    ask = ["lag", "behaviour", "--topic", NIGHTS, "--kafka", mock_cluster.bootstrap, "--redis", store_url]
    found = json.loads(CliRunner().invoke(app, [*ask, "--json"]).stdout)
    assert [(one["name"], one["lag"]) for one in found["partitions"]] == [(f"{last}/0", 1)]
    assert found["topic"] == "alerts_nightly"
    assert f"{last}/0" in CliRunner().invoke(app, ask, env={"COLUMNS": "120"}).stdout
    mock_cluster.create_topic(tonight, 1)
    table = CliRunner().invoke(app, ask, env={"COLUMNS": "120"}).stdout
    assert f"{tonight}/0" in table
    file = tmp_path / "offsets"
    file.write_text(json.dumps(found))
    begun = load_settings(None, {"stream": "behaviour", "topic": NIGHTS, "redis": {"url": store_url}})
    assert f"{last}/0 (0)" in goes_on(begun)
    # Of a night that the file says nothing of, all is read.
    assert place_of(str(file)).of(f"{tonight}/0", among_others=True) is None  # type: ignore[union-attr]


def test_it_says_what_retention_took(mock_cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    servers = filled(mock_cluster)
    mock_cluster.delete_records("events", 1, 8)
    mock_cluster.delete_records("events", 2, 12)
    store.hset("skim:{behaviour}:offsets", mapping={"events/0": 11, "events/1": 4, "events/2": 20})
    store.hset("skim:{behaviour}:checkpoints", mapping={"events/0": "0:new:0", "events/2": "9:new:0"})
    ran = CliRunner().invoke(app, [*ASK, "--kafka", servers, "--redis", store_url, "--json"])
    found = json.loads(ran.stdout)["partitions"]
    assert [one["lag"] for one in found] == [0, 12, 10]
    assert [one["problem"] for one in found] == [
        "beyond the end: was the topic made anew?",
        "4 messages are gone (retention)",
        "messages that its memory needs are gone (retention)",
    ]


def test_a_topic_that_is_not_there_is_said(mock_cluster: MockCluster, store_url: str) -> None:
    mock_cluster.create_topic("events", 1)
    arguments = ["lag", "behaviour", "--topic", "event", "--kafka", mock_cluster.bootstrap, "--redis", store_url]
    with pytest.raises(LagError, match="topic event: it is not there"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_brokers_that_do_not_answer_are_said(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skimstream.consumer.lag.ASK_SECONDS", 0.5)
    arguments = [*ASK, "--kafka", "127.0.0.1:1", "--redis", store_url]
    with pytest.raises(LagError, match=r"kafka\.bootstrap"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
