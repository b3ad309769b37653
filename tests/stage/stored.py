"""A Redis as docker-compose.yml has it."""

from brokers.redis import RedisServer, binary
from stage.deployed import ROOT

PASSWORD = "of-this-test"  # noqa: S105


class Stored(RedisServer):
    """A Redis with the settings of docker-compose.yml; `words` are added to its command."""

    words: tuple[str, ...] = ()

    def command(self) -> list[str]:
        text = (ROOT / "deploy/compose/redis.conf").read_text()
        secret = self.folder / "redis_auth"
        secret.write_text(f"requirepass {PASSWORD}\n")
        conf = self.folder / "redis.conf"
        conf.write_text(text.replace("/run/secrets/redis_auth", str(secret)).replace("dir /data", f"dir {self.folder}"))
        return [binary(), str(conf), "--port", str(self.port), *self.words]
