"""What Redis keeps of a topic a night is forgotten when no broker has the topic any more.

Each night's partitions begin with the model as training left it, so nothing that they have learned is needed once
their topic is gone. Their offsets go as well: brokers keep nights for a week, we keep them for a month.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

import redis

from .board import key, read_offsets
from .topics import Nightly, Single

log = logging.getLogger(__name__)

KEPT_NIGHTS = 30
#: By partition, in hashes; and keys of each partition's own.
FIELDS = ("offsets", "checkpoints", "inflight", "quarantine", "thresholds")
KEYS = ("model", "state", "switches")


class Nights:
    """A stream's nights in Redis."""

    def __init__(self, client: redis.Redis, stream: str, topics: Single | Nightly) -> None:
        self.client = client
        self.stream = stream
        self.topics = topics

    def begun(self, names: Sequence[str]) -> None:
        """These topics are read from now on; forget what is long over. If Redis doesn't answer, the next night does."""
        if not isinstance(self.topics, Nightly):
            return
        log.info("subscribed", extra={"topics": list(names)})
        try:
            self._forget(self.topics)
        except redis.RedisError as error:
            log.warning("old nights are still remembered", extra={"reason": str(error)})

    def _forget(self, topics: Nightly) -> None:
        read = set(topics.now())
        oldest = topics.tonight - timedelta(days=max(KEPT_NIGHTS, topics.nights))
        known = list(read_offsets(self.client, self.stream))
        nights = {name: topics.night_of(name.rpartition("/")[0]) for name in known}
        if past := [name for name in known if nights[name] and name.rpartition("/")[0] not in read]:
            self.client.hdel(key(self.stream, "thresholds"), *past)
        gone = [name for name, night in nights.items() if night is not None and night < oldest]
        if not gone:
            return
        with self.client.pipeline(transaction=True) as pipe:
            for field in FIELDS:
                pipe.hdel(key(self.stream, field), *gone)
            for name in gone:
                pipe.unlink(*(key(self.stream, kind, name) for kind in KEYS))
            pipe.execute()
        log.info("forgotten", extra={"partitions": len(gone), "before": oldest.isoformat()})
