"""All checks of a stream's worker."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import redis
from confluent_kafka import KafkaException

from ...scoring.model import Model
from ..board import key
from ..client_files import CredentialsError
from ..config import Settings
from ..configured import configured_stream
from . import brokers, machine, store
from .finding import Check, Finding, found, ok

# A worker is heard each second (`pulse.py`).
HEARD_SECONDS = 15


def checks(settings: Settings, load: Callable[[], Model]) -> Mapping[str, Check]:
    """The checks by name; `load` reads the model."""
    stream = configured_stream(settings)
    topic = settings.topic or stream.name
    return {
        "kafka": partial(brokers.brokers, settings, topic),
        "redis": partial(store.store, settings),
        "workers": partial(workers, settings, topic, settings.board.name or stream.name),
        "registry": partial(machine.registry, settings),
        "model": partial(machine.model, settings, load),
        "machine": partial(machine.machine, settings),
    }


def workers(settings: Settings, topic: str, board: str) -> Iterator[Finding]:
    """More workers than partitions: some have nothing to do. If Redis or Kafka doesn't answer, others say so."""
    try:
        with store.client_of(settings) as client:
            heard = client.zcount(key(board, "workers"), int(client.time()[0]) - HEARD_SECONDS, "+inf")
        about = brokers.Client(settings).consumer.list_topics(topic, timeout=brokers.ASK_SECONDS).topics[topic]
    except (redis.RedisError, KafkaException, CredentialsError):
        return
    if about.error is None and heard > len(about.partitions):
        yield found("workers", "workers-idle", f"{heard} workers, {len(about.partitions)} partitions")
    else:
        yield ok("workers", f"{heard} are at work")
