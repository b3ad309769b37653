"""What the doctor finds on real servers: Valkey or Redis, librdkafka's mock cluster, a proxy that hangs, a TLS port."""

import ast
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, Producer
from redis.backoff import NoBackoff
from redis.retry import Retry

from brokers.mock import Api, MockCluster
from brokers.proxy import FaultProxy
from brokers.redis import RedisServer
from skimstream.cli.models import load_model
from skimstream.consumer.bundles import Bundles
from skimstream.consumer.config import Settings, load_settings
from skimstream.consumer.doctor import brokers, machine
from skimstream.consumer.doctor import store as redis_checks
from skimstream.consumer.doctor.examine import examine
from skimstream.consumer.doctor.finding import KNOWN, Finding, found, ok
from skimstream.consumer.doctor.stack import checks, workers
from skimstream.consumer.pulse import Pulse
from skimstream.consumer.topics import Nightly, Single
from skimstream.scoring.model import Model
from stage.tlsport import TlsPort

ROOT = Path(__file__).resolve().parents[2]


def settings(kafka: str = "127.0.0.1:1", redis_url: str = "redis://127.0.0.1:1/0", **more: Any) -> Settings:
    options = more.pop("options", {})
    given = {"bootstrap": kafka, "options": options}
    return load_settings(None, {"stream": "behaviour", "kafka": given, "redis": {"url": redis_url}, **more})


def ids(findings: Iterator[Finding]) -> dict[str, list[str]]:
    """Check → what it found."""
    names: dict[str, list[str]] = {}
    for one in findings:
        names.setdefault(one.check, []).append(one.id)
    return names


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("behaviour", None)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mock knows nothing of rights, and never answers questions about them."""
    monkeypatch.setattr(brokers, "RIGHTS_SECONDS", 0.3)
    monkeypatch.setattr(brokers, "GROUP_SECONDS", 0.7)


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with MockCluster(1) as one:
        yield one


def kafka(cluster: MockCluster | str, topic: str = "alerts", **options: Any) -> dict[str, list[str]]:
    where = cluster if isinstance(cluster, str) else cluster.bootstrap
    return ids(brokers.brokers(settings(where, options=options), Single(topic)))


def test_a_stack_that_is_well(cluster: MockCluster, redis_server: Callable[..., RedisServer], model: Model) -> None:
    server = redis_server(save="60 1")
    for topic in ("alerts", "alerts.dlq"):
        cluster.create_topic(topic)
    producer = Producer({"bootstrap.servers": cluster.bootstrap})
    producer.produce("alerts", b"x")
    producer.flush(5)
    chosen = settings(cluster.bootstrap, server.url, topic="alerts")
    everything = list(examine(checks(chosen, lambda: model)))
    assert {one.level for one in everything} == {"ok"}, [one for one in everything if one.level != "ok"]
    assert {one.check for one in everything} >= {"kafka", "topic", "group", "dead-letters", "redis", "model", "clock"}


def test_nothing_listens_and_no_such_name() -> None:
    assert kafka("127.0.0.1:1") == {"kafka": ["kafka-unreachable"]}
    assert kafka("nowhere.invalid:9092") == {"kafka": ["kafka-name"]}


def test_options_that_librdkafka_does_not_take() -> None:
    assert kafka("127.0.0.1:1", **{"sasl.pasword": "x"}) == {"kafka": ["kafka-options"]}


def test_tls_where_there_is_none_and_none_where_there_is(cluster: MockCluster, tmp_path: Path) -> None:
    assert kafka(cluster, **{"security.protocol": "SSL"}) == {"kafka": ["kafka-tls-unwanted"]}
    with TlsPort(tmp_path) as port:
        assert kafka(port.address) == {"kafka": ["kafka-tls-missing"]}
        assert kafka(port.address, **{"security.protocol": "SSL"}) == {"kafka": ["kafka-certificate"]}


def test_a_login_that_the_brokers_do_not_offer(cluster: MockCluster) -> None:
    login = {"sasl.mechanism": "PLAIN", "sasl.username": "a", "sasl.password": "b"}
    found_ = kafka(cluster, **{"security.protocol": "SASL_PLAINTEXT", **login})
    assert found_ == {"kafka": ["kafka-mechanism"]}


def test_a_topic_that_is_missing_closed_or_empty(cluster: MockCluster) -> None:
    assert kafka(cluster) == {"kafka": ["ok"], "topic": ["kafka-topic"], "dead-letters": ["dead-letters-missing"]}
    cluster.create_topic("alerts")
    assert kafka(cluster)["topic"] == ["ok", "topic-empty"]
    cluster.topic_error("alerts", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert kafka(cluster)["topic"] == ["kafka-topic-acl"]


def test_a_group_that_may_not_be_used(cluster: MockCluster) -> None:
    cluster.create_topic("alerts")
    cluster.push_errors(Api.FIND_COORDINATOR, *[KafkaError.GROUP_AUTHORIZATION_FAILED] * 20)
    assert kafka(cluster)["group"] == ["kafka-group-acl"]


def test_dead_letters_that_may_not_be_written(cluster: MockCluster) -> None:
    for topic in ("alerts", "alerts.dlq"):
        cluster.create_topic(topic)
    cluster.topic_error("alerts.dlq", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert kafka(cluster)["dead-letters"] == ["dead-letters-acl"]


def test_what_is_written_to_other_brokers_is_looked_for_there(cluster: MockCluster) -> None:
    cluster.create_topic("alerts")
    with MockCluster(1) as mine:
        mine.create_topic("alerts.dlq")
        chosen = settings(cluster.bootstrap, outgoing={"bootstrap": mine.bootstrap})
        found_ = ids(brokers.brokers(chosen, Single("alerts")))
        assert found_["dead-letters"] == ["ok"]
        mine.topic_error("alerts.dlq", KafkaError.TOPIC_AUTHORIZATION_FAILED)
        found_ = ids(brokers.brokers(chosen, Single("alerts")))
        assert found_["dead-letters"] == ["dead-letters-acl"]


def test_the_topic_of_anomalies_is_looked_at_if_there_are_rules(cluster: MockCluster) -> None:
    cluster.create_topic("alerts")
    rules = [{"name": "odd", "min_score": 0.9}]

    def anomalies(**more: Any) -> list[str]:
        return ids(brokers.brokers(settings(cluster.bootstrap, **more), Single("alerts"))).get("anomalies", [])

    assert anomalies() == []
    assert anomalies(monitor=rules, anomalies={"topic": ""}) == []
    assert anomalies(monitor=rules) == ["anomalies-missing"]
    cluster.create_topic("skim.behaviour.anomalies")
    assert anomalies(monitor=rules) == ["ok"]
    cluster.topic_error("skim.behaviour.anomalies", KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert anomalies(monitor=rules) == ["anomalies-acl"]


def test_brokers_that_name_themselves_wrongly(cluster: MockCluster) -> None:
    cluster.create_topic("alerts")
    cluster.advertise(1, "127.0.0.1:1")
    assert kafka(cluster) == {"kafka": ["kafka-advertised"]}


@pytest.mark.parametrize("seconds", [pytest.param(12.0, marks=pytest.mark.nightly), 1.0])
def test_servers_that_hang_are_found_within_the_deadline(
    seconds: float, cluster: MockCluster, redis_server: Callable[..., RedisServer], model: Model
) -> None:
    """The brokers, Redis and the registry accept connections and say nothing."""
    server = redis_server()
    with FaultProxy(cluster.bootstrap) as kafka_proxy, FaultProxy(server.address) as redis_proxy:
        kafka_proxy.half_open()
        redis_proxy.half_open()
        registry = {"url": f"http://{redis_proxy.address}"}
        chosen = settings(kafka_proxy.address, server.url_through(redis_proxy.address), registry=registry)
        every = checks(chosen, lambda: model)
        began = time.monotonic()
        names = ids(examine(every, seconds))
        assert time.monotonic() - began < seconds + 2
        if seconds == 12:
            assert names["kafka"] == ["kafka-silent"]
            assert names["redis"] == ["redis-unreachable"]
            assert names["registry"] == ["registry-unreachable"]
        else:
            assert names["kafka"] == names["redis"] == names["registry"] == ["no-answer"]
        assert names["open-files"]  # the others are done


def test_a_check_that_fails_is_told_and_the_others_are_done() -> None:
    def broken() -> Iterator[Finding]:
        yield ok("broken", "so far")
        raise ValueError("a mistake")

    names = ids(examine({"broken": broken, "other": lambda: iter([ok("other", "well")])}))
    assert names == {"broken": ["ok", "check-failed"], "other": ["ok"]}


def test_redis_that_would_forget(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(maxmemory_policy="allkeys-lru", maxmemory="3mb")
    assert ids(redis_checks.store(settings(redis_url=server.url)))["redis-keeps"] == [
        "redis-policy",
        "redis-persistence",
    ]
    with server.client() as client:
        client.config_set("appendonly", "yes")
        client.config_set("maxmemory-policy", "noeviction")
        assert ids(redis_checks.store(settings(redis_url=server.url)))["redis-keeps"] == ["ok"]
        client.config_set("maxmemory", str(int(client.info("memory")["used_memory"])))
    assert ids(redis_checks.store(settings(redis_url=server.url)))["redis-memory"] == ["redis-memory"]


def test_redis_with_a_password_and_as_a_replica(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(password="right")  # noqa: S106
    assert ids(redis_checks.store(settings(redis_url=server.url)))["redis"] == ["ok"]
    wrong = server.url.replace("right", "wr%40ng")
    assert ids(redis_checks.store(settings(redis_url=wrong))) == {"redis": ["redis-password"]}
    assert ids(redis_checks.store(settings(redis_url=f"redis://{server.address}/0"))) == {"redis": ["redis-password"]}
    server.read_only()
    assert ids(redis_checks.store(settings(redis_url=server.url)))["redis"] == ["redis-replica"]


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"redis_version": "6.2.14"}, "redis-version"),
        ({"redis_version": "7.0.0"}, "ok"),
        ({"redis_version": "10.1"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, "ok"),
        ({}, "redis-version"),
    ],
)
def test_versions(about: dict[str, Any], name: str) -> None:
    assert [one.id for one in redis_checks.version(about)] == [name]


def test_what_redis_does_not_tell_and_what_it_could_not_write() -> None:
    with closing(redis.Redis(port=1, retry=Retry(NoBackoff(), 0))) as nobody:
        assert [one.id for one in redis_checks.keeps({}, nobody)] == ["redis-hidden"]
        aof = {"aof_enabled": 1, "aof_last_write_status": "err"}
        assert [one.id for one in redis_checks.keeps(aof, nobody)] == ["redis-unwritten"]


def test_a_clock_that_is_wrong(store_url: str) -> None:
    chosen = settings(redis_url=store_url)
    assert ids(redis_checks.store(chosen, lambda: time.time() + 60))["clock"] == ["clock"]
    assert ids(redis_checks.store(chosen))["clock"] == ["ok"]


def test_of_a_topic_a_night_the_latest_that_is_there_is_looked_at(cluster: MockCluster) -> None:
    nights = Nightly("alerts_{date:%Y%m%d}", 2)
    cluster.create_topic(f"{nights.name}.dlq", 1)

    def found() -> list[str]:
        return ids(brokers.brokers(settings(cluster.bootstrap), nights))["topic"]

    assert found() == ["topic-empty"]
    for topic in reversed(nights.now()):
        cluster.create_topic(topic, 1)
        assert found() == ["ok", "topic-empty"]


def test_more_workers_than_partitions(cluster: MockCluster, store: redis.Redis, store_url: str) -> None:
    cluster.create_topic("alerts", 2)
    chosen = settings(cluster.bootstrap, store_url, topic="alerts")
    for name in "ab":
        Pulse(store, "behaviour", name).beat()
    assert ids(workers(chosen, "behaviour")) == {"workers": ["ok"]}
    Pulse(store, "behaviour", "c").beat()
    assert ids(workers(chosen, "behaviour")) == {"workers": ["workers-idle"]}


def test_models_that_are_missing_of_another_stream_or_activated_and_gone(
    store: redis.Redis, store_url: str, model: Model, tmp_path: Path
) -> None:
    chosen = settings(redis_url=store_url)
    assert ids(machine.model(chosen, lambda: model)) == {"model": ["ok"]}
    assert ids(machine.model(chosen, lambda: Model.load(tmp_path))) == {"model": ["model"]}
    assert ids(machine.model(chosen, lambda: load_model("ztf", None))) == {"model": ["model-features"]}
    Bundles(store, "behaviour").activate(model)
    assert ids(machine.model(chosen, lambda: model)) == {"model": ["ok", "ok"]}
    for name in store.keys("skim:{behaviour}:bundle*"):
        store.delete(name)
    assert ids(machine.model(chosen, lambda: model)) == {"model": ["ok", "model-activated"]}


def test_where_schemas_come_from(tmp_path: Path) -> None:
    def registry(**more: Any) -> list[str]:
        return ids(machine.registry(settings(registry=more, framing="confluent"))).get("registry", [])

    assert registry() == ["registry-missing"]
    assert registry(folder=str(tmp_path)) == ["registry-folder"]
    (tmp_path / "1.avsc").write_text("{}")
    assert registry(folder=str(tmp_path)) == ["ok"]
    (tmp_path / "file").write_text("")
    assert registry(folder=str(tmp_path), cache=str(tmp_path / "file" / "cache")) == ["ok", "registry-cache"]
    assert registry(url="http://127.0.0.1:1") == ["registry-unreachable"]


@pytest.mark.parametrize(
    ("status", "name"),
    [(401, "registry-credentials"), (200, "ok"), (404, "ok"), (500, "registry-unreachable")],
)
def test_a_registry_that_answers(status: int, name: str) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        chosen = settings(registry={"url": f"http://127.0.0.1:{server.server_port}"})
        assert ids(machine.registry(chosen)) == {"registry": [name]}
        server.shutdown()


def test_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = settings(registry={"folder": str(tmp_path), "cache": str(tmp_path)})
    monkeypatch.setattr(machine, "numba_caches", lambda: [tmp_path])
    names = ids(machine.machine(chosen))
    assert names["kernels"] == ["kernels-cold"]
    (tmp_path / "a.nbi").write_text("")
    assert ids(machine.machine(chosen))["kernels"] == ["ok"]
    monkeypatch.setattr(machine, "ROOM_BYTES", 1 << 70)
    monkeypatch.setattr(machine, "OPEN_FILES", 1 << 40)
    monkeypatch.setattr(machine, "writable", lambda place: False)
    names = ids(machine.machine(chosen))
    assert names == {"kernels": ["ok", "kernels-unwritable"], "disk": ["disk-space"], "open-files": ["open-files"]}


def test_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    assert machine.writable(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    assert not machine.writable(tmp_path / "file")


def test_a_finding_that_is_not_known_can_not_be_made() -> None:
    with pytest.raises(KeyError):
        found("kafka", "kafka-gremlins", "")


def test_every_finding_is_in_the_docs_and_can_be_made() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.split("\n## Doctor\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == sorted(KNOWN)
    made: set[str] = set()
    doctor = {*(ROOT / "consumer" / "doctor").glob("*.py")} - {ROOT / "consumer" / "doctor" / "finding.py"}
    for path in doctor | {ROOT / "consumer" / "login.py"}:
        tree = ast.parse(path.read_text())
        made |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    made |= {f"{check}-{what}" for check in ("dead-letters", "anomalies") for what in ("missing", "acl")}
    tables = (ROOT / "consumer" / "connection.py").read_text()
    assert {name for name in KNOWN if name not in made and f'"{name}"' not in tables} == set()
