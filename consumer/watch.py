"""What a worker knows of the monitor: the rules in force, the topic that alerts go to, and what Prometheus hears."""

from collections.abc import Callable, Iterable, Sequence

from .alert import Alert, Announcement
from .monitor_metrics import MonitorMetrics
from .partition import Partition
from .rulebook import Book, Rulebook


class Watch:
    """`topic`: of anomalies, "" = none. provide: sees that it is there; called once, when there are rules for it."""

    def __init__(
        self,
        rulebook: Rulebook,
        topic: str = "",
        metrics: MonitorMetrics | None = None,
        provide: Callable[[str], object] = lambda topic: None,
    ) -> None:
        self.rulebook = rulebook
        self.topic = topic
        self.metrics = metrics
        self.provide = provide
        self.provided = False
        self._expect()

    @property
    def wants_nights(self) -> bool:
        """Whether some rule shares a number a night among partitions."""
        return any(rule.alerts_per_night is not None for rule in self.rulebook.book.rules)

    def refresh(self) -> bool:
        """As `Rulebook.refresh`."""
        changed = self.rulebook.refresh()
        if changed:
            self._expect()
        return changed

    def announcements(self, alerts: Iterable[Alert]) -> list[Announcement]:
        """Alerts on their way to the topic, if there is one."""
        return [Announcement(self.topic, alert) for alert in alerts] if self.topic else []

    def count(self, alerts: Sequence[Alert]) -> None:
        """Alerts that are out."""
        if self.metrics is not None:
            for alert in alerts:
                for rule in alert.record["rules"]:
                    self.metrics.matches.labels(self.metrics.stream, rule).inc()

    def observe(self, partitions: Iterable[Partition]) -> None:
        """The bars as they are now."""
        if self.metrics is not None:
            self.metrics.observe(
                {(*one.labels, rule): level for one in partitions for rule, level in one.monitor.levels().items()}
            )

    def _expect(self) -> None:
        if self.topic and self.rulebook.book.rules and not self.provided:
            self.provide(self.topic)
            self.provided = True
        if self.metrics is not None:
            self.metrics.expect(self.rulebook.book)


def nothing(stream: str) -> Watch:
    """No rules."""
    return Watch(Rulebook(Book(), stream))
