"""One board for all tests that only read it, and a client of the API over it."""

from collections.abc import Iterator

import httpx
import pytest
import redis

from skimstream.cli.embedded import embedded_store
from stage.boarded import client_of, fill


@pytest.fixture(scope="session")
def board() -> Iterator[redis.Redis]:
    """A Valkey of its own with three nights of `ztf` and a day of `behaviour`."""
    with embedded_store() as url, redis.Redis.from_url(url) as client:
        fill(client)
        yield client


@pytest.fixture(scope="session")
def client(board: redis.Redis) -> Iterator[httpx.Client]:
    """A client of the API over it."""
    with client_of(board) as client:
        yield client
