"""What the demo shows: a live screen on a terminal, a plain line every ten seconds elsewhere, a summary at the end."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .progress import PLAIN_SECONDS
from .table import top_table


@dataclass(frozen=True)
class Standing:
    """Where a stream stands: messages sent and read, its top list, which objects were injected and how many are found.

    injected: event id → (object, anomaly), of `objects` objects; found: those of them in the top 100 of a night;
    precise: how many of the `shown` entries of all nights' top 10 are injected events.
    """

    night: str
    sent: int
    read: int
    top: list[dict[str, Any]]
    injected: Mapping[str, tuple[str, str]]
    objects: int
    found: int
    shown: int
    precise: int


class Show:
    """The view; update it as often as you like."""

    def __init__(self) -> None:
        self.live = Live(console=Console(), refresh_per_second=4, screen=False) if sys.stdout.isatty() else None
        self.plain_at = PLAIN_SECONDS
        self.last: tuple[float, dict[str, int]] = (0.0, {})
        self.rates: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def update(self, standings: Mapping[str, Standing], elapsed: float) -> None:
        """Show where the streams stand after `elapsed` seconds."""
        before, read = self.last
        if elapsed - before >= 1.0:
            now = {stream: standing.read for stream, standing in standings.items()}
            self.rates = {stream: (now[stream] - read.get(stream, 0)) / (elapsed - before) for stream in now}
            self.last = (elapsed, now)
        if self.live:
            parts: list[Any] = []
            for stream, standing in standings.items():
                parts.append(Text(plain_line(stream, standing, self.rates.get(stream, 0.0)), style="bold"))
                title = f"tonight's top {len(standing.top)} of {stream} ({standing.night or '…'})"
                marks = {event: anomaly for event, (_, anomaly) in standing.injected.items()}
                parts += [top_table(title, standing.top, marks, one_line=True), Text("")]
            self.live.update(Group(*parts))
        elif elapsed >= self.plain_at:
            self.plain_at += PLAIN_SECONDS
            for stream, standing in standings.items():
                typer.echo(f"{elapsed:.0f} s  {plain_line(stream, standing, self.rates.get(stream, 0.0))}")


def plain_line(stream: str, standing: Standing, rate: float) -> str:
    """One line on a stream."""
    return (
        f"{stream}: {rate:.0f} events/s, lag {max(0, standing.sent - standing.read)}, "
        f"{standing.objects} anomalous objects so far, {standing.found} in the top 100, "
        f"{standing.precise} of the {standing.shown} in the top 10"
    )


def summary(figures: Mapping[str, Any]) -> str:
    """The figures in words."""
    lines = [f"{figures['events']} events in {figures['seconds']} s, {figures['dead_letters']} dead letters"]
    for stream, one in figures["streams"].items():
        unscored = ", ".join(f"{count} {reason}" for reason, count in one["unscored"].items()) or "none"
        lines.append(
            f"  {stream}: {one['scored']} scored, unscored: {unscored}; "
            f"{one['injected_objects']} anomalous objects injected, {one['found_in_top_100']} of them in the top 100, "
            f"precision in the top 10: {one['precision_at_10']:.2f}"
        )
    return "\n".join(lines)
