"""What the Kafka client complains of is counted: brokers that are all down, again and again."""

import time

from confluent_kafka import Consumer

from brokers.mock import MockCluster
from skimstream.consumer.config import load_settings
from skimstream.consumer.run import kafka_options

SECONDS = 20.0


def test_brokers_that_are_all_down_are_told_and_one_that_is_missing_is_not(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("t", partitions=1)
    told: list[str] = []
    options = kafka_options(load_settings(None, {"kafka": {"bootstrap": mock_cluster.bootstrap}}), told.append)
    consumer = Consumer({**options, "group.id": "g"})
    try:
        assert consumer.list_topics(timeout=SECONDS).topics
        mock_cluster.broker_down(2)
        consumer.subscribe(["t"])
        until = time.monotonic() + 1
        while time.monotonic() < until:
            consumer.poll(0.1)
        assert "down" not in told
        mock_cluster.broker_down()
        until = time.monotonic() + SECONDS
        while "down" not in told and time.monotonic() < until:
            consumer.poll(0.1)
        assert "down" in told
    finally:
        mock_cluster.broker_up()
        consumer.close()
    assert set(told) <= {"down", "other"}
