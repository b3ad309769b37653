"""Real servers for tests: one Valkey for the whole run, emptied for each test, and librdkafka's mock cluster.

And the ones that can be broken, from `brokers/`: Kafka, Tansu, Redis, a mock cluster with faults, a proxy with faults.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from brokers.alertmanager import Alertmanager, Webhook
from brokers.kafka import Kafka
from brokers.mock import MockCluster
from brokers.prometheus import Prometheus
from brokers.proxy import FaultProxy
from brokers.redis import RedisServer
from brokers.server import Server, Unavailable
from brokers.tansu import Tansu
from skimstream.cli.embedded import embedded_broker, embedded_store

FIGURES = pytest.StashKey[dict[str, Any]]()
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The redis:// URL of the run's Valkey, with all that earlier tests left in it: take `store_url`."""
    with embedded_store() as url:
        yield url


@pytest.fixture
def store_url(valkey: str) -> str:
    """The redis:// URL of an empty Valkey."""
    with closing(redis.Redis.from_url(valkey)) as client:
        client.flushall()
    return valkey


@pytest.fixture
def store(store_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Valkey."""
    with closing(redis.Redis.from_url(store_url)) as client:
        yield client


@pytest.fixture
def broker() -> Iterator[str]:
    """Bootstrap servers of a fresh mock cluster."""
    with embedded_broker() as servers:
        yield servers


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that use it are skipped where it is absent."""
    if not SHARED.exists():
        pytest.skip("needs ../shared")
    return SHARED


S = TypeVar("S", bound=Server)


def started(server: S) -> Iterator[S]:
    """A running server; the test is skipped where it can't be had."""
    with closing(server):
        try:
            server.start()
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield server


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[Kafka]:
    """A real Kafka for the whole run; tests take `kafka`."""
    yield from started(Kafka())


@pytest.fixture
def kafka(kafka_server: Kafka) -> Kafka:
    """The run's Kafka, in order again if the test before left it dead or frozen. Topics and groups of others stay."""
    kafka_server.heal()
    return kafka_server


@pytest.fixture(scope="session")
def tansu_server() -> Iterator[Tansu]:
    """A Tansu for the whole run; tests take `tansu`."""
    yield from started(Tansu())


@pytest.fixture
def tansu(tansu_server: Tansu) -> Tansu:
    """The run's Tansu, in order again if the test before left it dead or frozen."""
    tansu_server.heal()
    return tansu_server


@pytest.fixture
def mock_cluster() -> Iterator[MockCluster]:
    """A mock cluster of three brokers that takes faults."""
    try:
        cluster = MockCluster(3)
    except Unavailable as reason:
        pytest.skip(str(reason))
    with cluster:
        yield cluster


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str], FaultProxy]]:
    """Makes proxies before "host:port" targets; all end with the test."""
    with ExitStack() as stack:
        yield lambda target: stack.enter_context(FaultProxy(target))


@pytest.fixture
def redis_server() -> Iterator[Callable[..., RedisServer]]:
    """Makes running servers, `RedisServer`'s arguments given; all end with the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> RedisServer:
            try:
                return stack.enter_context(RedisServer(**options))
            except Unavailable as reason:
                pytest.skip(str(reason))

        yield make


@pytest.fixture
def prometheus_server() -> Iterator[Callable[[Mapping[str, str]], Prometheus]]:
    """Makes running servers of their files' texts; all end with the test."""
    with ExitStack() as stack:

        def make(files: Mapping[str, str]) -> Prometheus:
            try:
                return stack.enter_context(Prometheus(files))
            except Unavailable as reason:
                pytest.skip(str(reason))

        yield make


@pytest.fixture
def alertmanager_server() -> Iterator[Callable[[Mapping[str, str]], Alertmanager]]:
    """Makes running servers of their files' texts; all end with the test."""
    with ExitStack() as stack:

        def make(files: Mapping[str, str]) -> Alertmanager:
            try:
                return stack.enter_context(Alertmanager(files))
            except Unavailable as reason:
                pytest.skip(str(reason))

        yield make


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A receiver of JSON on loopback."""
    with Webhook() as receiver:
        yield receiver


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> dict[str, Any]:
    """What was measured; printed as the very last line, as JSON, if anything was."""
    return pytestconfig.stash.setdefault(FIGURES, {})


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run's last word."""
    if measured := config.stash.get(FIGURES, {}):
        print(json.dumps(measured))
