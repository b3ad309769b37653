"""Sends recorded messages again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .pace import Pace
from .send import Sender


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay did: messages handed over, their bytes, and how many of them the broker did not confirm."""

    sent: int
    bytes: int
    undelivered: int


def replay(
    messages: Iterable[tuple[str, bytes]],
    sender: Sender,
    topic: str,
    pace: Pace | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplaySummary:
    """Sends (name, bytes) pairs to `topic` as they are, in order, and waits for the delivery reports.

    `progress` is called after each message with (messages, bytes) so far. The file name goes along as the header
    `name`, the only addition. Raises what `Sender.send` and the iterator raise.
    """
    sent = size = 0
    before = sender.undelivered_total
    for name, data in messages:
        if pace is not None:
            pace.wait()
        sender.send(topic, data, headers=[("name", name.encode("utf-8", "surrogateescape"))])
        sent += 1
        size += len(data)
        if progress is not None:
            progress(sent, size)
    left = sender.flush()
    return ReplaySummary(sent, size, sender.undelivered_total - before + left)
