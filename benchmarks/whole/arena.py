"""The broker, the store and the topics that all contenders share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

ROOT = Path(__file__).resolve().parents[2]
for folder in ("tests", "benchmarks"):
    sys.path.insert(0, str(ROOT / folder))

from brokers.kafka import Kafka  # noqa: E402
from brokers.mock import MockCluster  # noqa: E402
from brokers.redis import RedisServer  # noqa: E402
from brokers.server import Unavailable  # noqa: E402
from decode import ARCHIVES, SHARED  # noqa: E402
from skimstream.producer.archive import messages as archived  # noqa: E402
from skimstream.producer.encode import container, plain  # noqa: E402
from skimstream.producer.schema import load  # noqa: E402
from skimstream.producer.simulate.night import simulate_night  # noqa: E402
from skimstream.producer.simulate.sessions import simulate_sessions  # noqa: E402
from whole.lsst import simulated, tonight  # noqa: E402

ELASTICC = SHARED / "lsst" / "elasticc_v0_9_5607.tar.gz"
USERS = 20_000
MOCK_BYTES = 5_000_000  # the mock cluster keeps so much a partition, and drops the oldest without a word
SEED = 1


class Arena(NamedTuple):
    """Where a broker and a Redis are, and what the broker is."""

    kind: str
    broker: Kafka | MockCluster
    store: RedisServer

    @property
    def bootstrap(self) -> str:
        """For clients."""
        return self.broker.bootstrap

    def fill(self, topic: str, partitions: int, messages: list[bytes]) -> None:
        """A new topic with these messages, by turns onto its partitions."""
        each = sum(map(len, messages)) / partitions
        if isinstance(self.broker, MockCluster) and each > MOCK_BYTES:
            raise SystemExit(f"{topic}: the mock cluster keeps {MOCK_BYTES} bytes a partition, {each:.0f} are needed")
        self.broker.create_topic(topic, partitions)
        self.send(topic, partitions, messages)

    def send(self, topic: str, partitions: int, messages: list[bytes]) -> None:
        """These messages, by turns onto the partitions of a topic that is there."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5, "log_level": 0})
        for i, message in enumerate(messages):
            while True:
                try:
                    producer.produce(topic, message, partition=i % partitions)
                    break
                except BufferError:
                    producer.poll(0.05)
        if producer.flush(60):
            raise SystemExit(f"{topic}: not everything was delivered")

    def empty(self) -> None:
        """A Redis as new."""
        with self.store.client() as client:
            client.flushall(asynchronous=True)  # five million users take it longer than a client waits


@contextmanager
def arena(mock: bool = False) -> Iterator[Arena]:
    """A real Kafka where Java and its jars are at hand, else the mock cluster; and a real Redis."""
    with RedisServer() as store:
        if not mock:
            try:
                kafka = Kafka()
                kafka.__enter__()
            except Unavailable as reason:
                print(f"no Kafka ({reason}); the mock cluster of librdkafka instead", file=sys.stderr)
            else:
                try:
                    yield Arena("Apache Kafka", kafka, store)
                finally:
                    kafka.__exit__(None, None, None)
                return
        with MockCluster() as cluster:
            yield Arena("librdkafka's mock cluster", cluster, store)


def workload(name: str, count: int) -> tuple[list[bytes], str]:
    """Messages, and in words what they are."""
    if name == "behaviour":
        day = simulate_sessions(SEED, datetime(2026, 11, 21, tzinfo=UTC), count, users=min(USERS, count))
        schema = load("behaviour")
        return [plain(one.record, schema) for one in day], "simulated sessions of 18 fields"
    if name == "lsst":
        if not ELASTICC.exists():
            return simulated(count, SEED), "simulated alerts of 1 to 60 detections, without cutouts"
        found = [tonight(alert) for _, alert in islice(archived([ELASTICC]), count)]
        what = f"{len(found)} alerts of ELAsTiCC as if of one night, without cutouts, again and again"
        return list(islice(cycle(found), count)), what
    archives = {label: (SHARED / path, folder) for label, path, folder, _ in ARCHIVES}
    path, folder = archives["ztf_v3.2"]
    if path.exists():
        found = [alert for member, alert in archived([path]) if folder in member]
        return list(islice(cycle(found), count)), f"{len(found)} real ZTF alerts, again and again"
    night = simulate_night(SEED, date(2026, 11, 21), count, 0.005)
    return [container(one.record, load("ztf_like")) for one in night], "simulated alerts without cutouts"


def mean_bytes(messages: list[bytes]) -> float:
    """Bytes a message."""
    return sum(map(len, messages)) / len(messages)
