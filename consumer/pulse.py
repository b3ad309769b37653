"""Workers say that they live; whoever shows the board can then tell a quiet stream from one that nobody reads.

Key, for the stream `ztf`:
    skim:{ztf}:workers      sorted set: <host>:<process> → when it was last heard, Redis' own clock, seconds since 1970
"""

import logging
import os
import socket

import redis

from .board import key
from .streams.base import SECONDS_A_DAY

log = logging.getLogger(__name__)

# Redis' clock, as workers and readers may stand on machines whose clocks differ.
_BEAT = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
"""


class Pulse:
    """A worker's sign of life."""

    def __init__(self, client: redis.Redis, stream: str, worker: str | None = None) -> None:
        self.worker = worker or f"{socket.gethostname()}:{os.getpid()}"
        self.workers = key(stream, "workers")
        self._beat = client.register_script(_BEAT)

    def beat(self) -> None:
        """Be heard; silence is no reason to stop working."""
        try:
            self._beat(keys=[self.workers], args=[self.worker, int(SECONDS_A_DAY)])
        except redis.RedisError as error:
            log.warning("not heard", extra={"reason": str(error)})
