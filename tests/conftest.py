"""Real servers for tests: one Valkey for the whole run, emptied for each test, and librdkafka's mock cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from skimstream.cli.embedded import embedded_broker, embedded_store

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """A Valkey's redis:// URL."""
    with embedded_store() as url:
        yield url


@pytest.fixture
def store(store_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Valkey."""
    client = redis.Redis.from_url(store_url)
    client.flushall()
    yield client
    client.close()


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
