"""The monitor that settings speak of: rules, metrics, and who tells people."""

import time
from collections.abc import Callable

import redis
from prometheus_client import CollectorRegistry

from .config import Settings
from .monitor_metrics import MonitorMetrics
from .notifier import Notifier
from .outbox import Outbox
from .rulebook import Book, Rulebook
from .summary import Summaries
from .watch import Watch


def watch_of(
    settings: Settings, registry: CollectorRegistry, provide: Callable[[str], object] = lambda topic: None
) -> Watch:
    """The rules of a stream; their file is read again when it changes. provide: as `Watch` has it."""
    metrics = MonitorMetrics(registry, settings.stream)
    rulebook = Rulebook(
        book_of(settings),
        settings.stream,
        settings.file,
        lambda: book_of(settings.again()),
        lambda outcome: metrics.reloads.labels(outcome).inc(),
    )
    topic = settings.anomalies.topic
    return Watch(rulebook, f"skim.{settings.stream}.anomalies" if topic is None else topic, metrics, provide)


def book_of(settings: Settings) -> Book:
    """What settings say of the monitor."""
    return Book(settings.monitor, settings.channels, settings.summary)


def notifier_of(client: redis.Redis, board: str, watch: Watch) -> Notifier:
    """Who tells people what a board's outbox holds; without channels it does nothing."""
    summaries = Summaries(client, board, lambda: watch.rulebook.book.summary, time.time)
    metrics = watch.metrics or MonitorMetrics(CollectorRegistry(), watch.rulebook.stream)
    return Notifier(Outbox(client, board), lambda: watch.rulebook.book, metrics, also=summaries.look)
