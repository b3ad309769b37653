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
from ..rule import for_stream
from ..rule_fields import doubts
from . import brokers, machine, store
from .finding import Check, Finding, found, ok

# A worker is heard each second (`pulse.py`).
HEARD_SECONDS = 15


def checks(settings: Settings, load: Callable[[], Model]) -> Mapping[str, Check]:
    """The checks by name; `load` reads the model."""
    stream = configured_stream(settings)
    return {
        "kafka": partial(brokers.brokers, settings, settings.topics),
        "redis": partial(store.store, settings),
        "workers": partial(workers, settings, settings.board.name or stream.name),
        "registry": partial(machine.registry, settings),
        "model": partial(machine.model, settings, load),
        "rules": partial(rules, settings),
        "machine": partial(machine.machine, settings),
    }


def rules(settings: Settings) -> Iterator[Finding]:
    """Rules that no event can meet; nothing is said where there are no rules."""
    stream = configured_stream(settings)
    ours = for_stream(settings.monitor, stream.name)
    asked = doubts(ours, stream)
    for doubt in asked:
        yield found("rules", "rule-field", doubt)
    if ours and not asked:
        yield ok("rules", f"{len(ours)} of {stream.name}")


def workers(settings: Settings, board: str) -> Iterator[Finding]:
    """More workers than partitions: some have nothing to do. If Redis or Kafka doesn't answer, others say so."""
    try:
        with store.client_of(settings) as client:
            heard = client.zcount(key(board, "workers"), int(client.time()[0]) - HEARD_SECONDS, "+inf")
        consumer = brokers.Client(settings).consumer
        names = settings.topics.now()
        about = [consumer.list_topics(name, timeout=brokers.ASK_SECONDS).topics[name] for name in names]
    except (redis.RedisError, KafkaException, CredentialsError):
        return
    partitions = sum(len(one.partitions) for one in about if one.error is None)
    if partitions and heard > partitions:
        yield found("workers", "workers-idle", f"{heard} workers, {partitions} partitions")
    else:
        yield ok("workers", f"{heard} are at work")
