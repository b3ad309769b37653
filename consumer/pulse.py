"""Workers say that they live; whoever shows the board can then tell a quiet stream from one that nobody reads.

Keys, for the stream `ztf`:
    skim:{ztf}:workers      sorted set: <host>:<process> → when it was last heard, Redis' own clock, seconds since 1970
    skim:{ztf}:thresholds   hash: <topic>/<partition> → the bars in force (JSON): severities and rules of the monitor
"""

import json
import logging
import os
import socket
from collections.abc import Iterable
from typing import Any

import redis

from .board import key
from .partition import Partition
from .streams.base import SECONDS_A_DAY

log = logging.getLogger(__name__)

# Redis' clock, as workers and readers may stand on machines whose clocks differ.
_BEAT = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if #ARGV > 2 then
  redis.call('HSET', KEYS[2], unpack(ARGV, 3))
end
"""


class Pulse:
    """A worker's sign of life."""

    def __init__(self, client: redis.Redis, stream: str, worker: str | None = None) -> None:
        self.worker = worker or f"{socket.gethostname()}:{os.getpid()}"
        self.keys = [key(stream, "workers"), key(stream, "thresholds")]
        self._beat = client.register_script(_BEAT)

    def beat(self, partitions: Iterable[Partition] = ()) -> None:
        """Be heard, and say what bars are in force; silence is no reason to stop working."""
        bars = [text for one in partitions for text in (one.name, json.dumps(bars_of(one)))]
        try:
            self._beat(keys=self.keys, args=[self.worker, int(SECONDS_A_DAY), *bars])
        except redis.RedisError as error:
            log.warning("not heard", extra={"reason": str(error)})


def bars_of(partition: Partition) -> dict[str, Any]:
    """The combined values above which its events are notable or high, and what the rules ask for."""
    levels = partition.monitor.levels()
    rules = {rule.name: {"bar": rule.bar[0], "asked": rule.bar[1]} for rule in partition.monitor.rules}
    return {
        "severities": partition.ensemble.thresholds.levels,
        "rules": {name: {**said, "level": levels[name]} for name, said in rules.items()},
    }
