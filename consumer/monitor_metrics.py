"""What the monitor tells Prometheus. Rules and channels are a closed set: the file's."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from .rulebook import Book

OUTCOMES = ("sent", "retried", "dropped", "held")


class MonitorMetrics:
    """Its table, beside the worker's (metrics.py)."""

    def __init__(self, registry: CollectorRegistry, stream: str) -> None:
        r = registry
        self.stream = stream
        self.told = set[tuple[str, str, str]]()
        self.threshold = Gauge(
            "skim_monitor_threshold",
            "What an event has to exceed now: a score for min_score, else a combined value",
            ("stream", "topic", "partition", "rule"),
            registry=r,
        )
        self.matches = Counter(
            "skim_monitor_matches_total", "Events that rules asked for", ("stream", "rule"), registry=r
        )
        self.reloads = Counter(
            "skim_monitor_reloads_total", "Changes of the rules' file: applied, refused", ("outcome",), registry=r
        )
        self.notifications = Counter(
            "skim_notifications_total",
            "Alerts by what became of them on a channel; held: by a cooldown, or enough for a night",
            ("channel", "outcome"),
            registry=r,
        )
        self.waiting = Gauge(
            "skim_notifications_waiting", "Alerts that a channel is not done with", ("channel",), registry=r
        )
        for outcome in ("applied", "refused"):
            self.reloads.labels(outcome)

    def observe(self, levels: Mapping[tuple[str, str, str], float]) -> None:
        """The bars by topic, partition and rule; of partitions that went nothing is told any more."""
        for labels in self.told - levels.keys():
            self.threshold.remove(self.stream, *labels)
        for labels, level in levels.items():
            self.threshold.labels(self.stream, *labels).set(level)
        self.told = set(levels)

    def expect(self, book: Book) -> None:
        """What hasn't happened yet is a zero, not a gap; rules that are gone have no threshold."""
        self.observe({})
        for rule in book.rules:
            self.matches.labels(self.stream, rule.name)
        for channel in book.channels:
            self.waiting.labels(channel)
            for outcome in OUTCOMES:
                self.notifications.labels(channel, outcome)
