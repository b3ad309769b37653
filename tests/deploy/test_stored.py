"""The stack's redis.conf in a real Redis: what it promises, and the way back from a backup as docs/deploy.md has it."""

import shutil
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from brokers.redis import binary
from brokers.server import Unavailable
from stage.stored import PASSWORD, Stored


@pytest.fixture
def stored() -> Iterator[Stored]:
    try:
        binary()
    except Unavailable as error:
        pytest.skip(str(error))
    with Stored(password=PASSWORD) as server:
        yield server


def test_it_keeps_everything_and_asks_for_its_password(stored: Stored) -> None:
    with stored.client() as client:
        asked = ("maxmemory-policy", "appendonly", "appendfsync", "maxmemory")
        assert [client.config_get(name)[name] for name in asked] == ["noeviction", "yes", "everysec", "1610612736"]
        client.set("skim:test", "kept")
    stored.restart()  # kill -9
    with stored.client() as client:
        assert client.get("skim:test") == b"kept"
    with (
        redis.Redis(port=stored.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.get("skim:test")


def test_back_to_a_backup(stored: Stored) -> None:
    with stored.client() as client:
        client.set("skim:test", "in the backup")
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        shutil.copy(stored.folder / "dump.rdb", stored.folder / "backup.rdb")
        client.set("skim:test", "after it")
    stored.stop()
    shutil.rmtree(stored.folder / "appendonlydir")
    shutil.copy(stored.folder / "backup.rdb", stored.folder / "dump.rdb")
    stored.words = ("--appendonly", "no")
    stored.start()
    with stored.client() as client:
        assert client.get("skim:test") == b"in the backup"
        client.config_set("appendonly", "yes")
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
    stored.words = ()
    stored.restart()
    with stored.client() as client:
        assert client.get("skim:test") == b"in the backup"
