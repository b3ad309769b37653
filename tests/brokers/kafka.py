"""A real Apache Kafka, one node, on loopback: no Docker, only Java 17 and Maven.

`python -m brokers.kafka up` (in tests/) runs one until Ctrl-C and prints its bootstrap address, `... down` ends it.
"""

import argparse
import base64
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from .proxy import FaultProxy
from .server import Server, ServerFailed, Unavailable, free_port

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "kafka"
POM = HERE / "pom.xml"
NEEDS = "needs Java 17 and Maven Central"
FETCH_SECONDS = 600
ADMIN_SECONDS = 30.0
# Starting costs more than running here: no second compiler, one collector thread.
JVM = ["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData"]
# The Maven that distributions ship asks for this one by itself; named, so that all ask for the same.
COPY = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"


def jars() -> Path:
    """The folder of Kafka's jars, fetched by Maven (54 MB) unless this pom's are there. Raises Unavailable."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"{NEEDS}: no {' and no '.join(missing)} on the PATH")
    lib = CACHE / f"lib-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch once
        if not lib.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                _fetch(Path(folder) / "lib")
                (Path(folder) / "lib").rename(lib)
    return lib


def _fetch(folder: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(POM), COPY, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{NEEDS}: Maven took more than {FETCH_SECONDS} s") from error
    if done.returncode != 0:
        raise Unavailable(f"{NEEDS}: {done.stdout[-1000:]}{done.stderr[-1000:]}")


class Kafka(Server):
    """One broker that is its own controller; `config` is added to server.properties, with _ for the dots of names.

    Topics are made by `create_topic` only. Each name of `bootstrap` is the broker itself; `proxied()` gives a way in
    through a proxy. Sessions may be as short as 500 ms; retention and compaction act within about a second.
    """

    def __init__(self, port: int | None = None, **config: object) -> None:
        super().__init__(port)
        self.config = config
        self.controller_port = free_port()
        # Clients go where the broker's metadata sends them: a second listener says that it is where the proxy is.
        self.behind_port = free_port()
        self.proxy_port = free_port()

    @property
    def bootstrap(self) -> str:
        """For `bootstrap.servers`."""
        return self.address

    def command(self) -> list[str]:
        lib = jars()
        properties = self.folder / "server.properties"
        java = ["java", *JVM, f"-Djava.io.tmpdir={self.folder}", "-cp", f"{lib}/*"]
        if not properties.exists():
            properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
            cluster = "a" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
            command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
            if done.returncode != 0:
                properties.unlink()
                if "UnsupportedClassVersionError" in done.stderr:
                    raise Unavailable(f"{NEEDS}: this Java is older")
                raise ServerFailed(self, f"couldn't format its folder: {done.stdout}{done.stderr}")
        return [*java, f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "kafka.Kafka", str(properties)]

    def _properties(self) -> dict[str, object]:
        here = "127.0.0.1"
        plain, behind = f"PLAINTEXT://{here}:{self.port}", f"BEHIND://{here}:{self.behind_port}"
        properties: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{here}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{plain},{behind},CONTROLLER://{here}:{self.controller_port}",
            "advertised.listeners": f"{plain},BEHIND://{here}:{self.proxy_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.folder / "data",
            "num.partitions": 4,
            "auto.create.topics.enable": "false",
            "message.max.bytes": 10_485_760,
            # A single node.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.num.partitions": 4,
            "share.coordinator.state.topic.min.isr": 1,
            # After kill -9 the broker's own controller takes it for alive as long as this; by default 9 s.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            # Groups that form and notice a death at once.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            "group.consumer.min.session.timeout.ms": 500,
            "group.consumer.session.timeout.ms": 6_000,
            "group.consumer.min.heartbeat.interval.ms": 200,
            "group.consumer.heartbeat.interval.ms": 1_000,
            # Retention and compaction while one waits; by default they look every 5 minutes and every 15 s.
            "log.initial.task.delay.ms": 500,
            "log.retention.check.interval.ms": 500,
            "log.segment.delete.delay.ms": 100,
            "log.cleaner.backoff.ms": 500,
        }
        return properties | {key.replace("_", "."): value for key, value in self.config.items()}

    def answers(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def admin(self) -> AdminClient:
        """A new admin client; keep it until its futures are done."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topic(self, name: str, partitions: int = 4, **config: object) -> None:
        """Make a topic and wait until it can be written to; `retention_ms=1000` sets its retention.ms."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(ADMIN_SECONDS)
        deadline = time.monotonic() + ADMIN_SECONDS
        while time.monotonic() < deadline:
            found = admin.list_topics(name, timeout=ADMIN_SECONDS).topics[name].partitions.values()
            if len(found) == partitions and all(partition.leader == 1 for partition in found):
                return
            time.sleep(0.02)
        raise TimeoutError(f"{name} has no leaders after {ADMIN_SECONDS} s")

    def delete_topic(self, name: str) -> None:
        """Remove a topic and its messages."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(ADMIN_SECONDS)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove a partition's messages below an offset, as retention does."""
        admin, where = self.admin(), TopicPartition(topic, partition, before)
        for future in admin.delete_records([where]).values():
            future.result(ADMIN_SECONDS)

    @contextmanager
    def proxied(self) -> Iterator[FaultProxy]:
        """A proxy before the broker: all connections of clients with `bootstrap.servers` = its `address` stay in it.

        One at a time; it outlives restarts of the broker.
        """
        with FaultProxy(f"127.0.0.1:{self.behind_port}", port=self.proxy_port) as proxy:
            yield proxy


def up(port: int | None) -> int:
    """Run a broker until Ctrl-C, SIGTERM or `down`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "up").open("a+") as running:
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("one runs already; `make kafka-down` ends it", file=sys.stderr)
            return 1
        running.truncate(0)
        print(os.getpid(), file=running, flush=True)
        try:
            with Kafka(port) as kafka:
                print(kafka.bootstrap, flush=True)
                while kafka.alive:
                    time.sleep(0.2)
                raise ServerFailed(kafka, "ended by itself")
        except KeyboardInterrupt:
            return 0
        except (Unavailable, ServerFailed) as error:
            print(error, file=sys.stderr)
            return 1


def down() -> int:
    """End the broker that `up` runs, if there is one."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "up").open("a+") as running:
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # whoever holds the lock wrote its own id, so this is no one else's
            running.seek(0)
            os.kill(int(running.read()), signal.SIGTERM)
            fcntl.flock(running, fcntl.LOCK_EX)
            return 0
    print("none runs", file=sys.stderr)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="brokers.kafka", description=__doc__)
    parser.add_argument("do", choices=["up", "down"])
    parser.add_argument("--port", type=int, help="the broker's port (a free one)")
    given = parser.parse_args()
    return up(given.port) if given.do == "up" else down()


if __name__ == "__main__":
    sys.exit(main())
