"""One channel's reader of the outbox: what concerns the channel is sent, one after another, in the outbox's order."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import redis

from .channel import Channel, ChannelError, ChannelSettings, Message, NotSent
from .message import digest_message, message_of, summary_message
from .monitor_metrics import MonitorMetrics
from .outbox import Entry, Outbox
from .rule import Rule
from .rulebook import Book

log = logging.getLogger(__name__)

READ_MILLISECONDS = 250
# Tries after 1, 2, 4 … 60 s, about three minutes in all; what Retry-After asks for may make them longer.
TRIES = 8
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# Redis is away, or the channel's file: look again after so long.
OUTAGE_SECONDS = 1.0


class Office(Protocol):
    """What a teller needs of the notifier."""

    outbox: Outbox
    metrics: MonitorMetrics
    ours: threading.Event  # this process notifies
    ending: threading.Event

    @property
    def book(self) -> Callable[[], Book]: ...
    @property
    def make(self) -> Callable[[str, ChannelSettings], Channel]: ...


@dataclass(slots=True)
class Digest:
    """What a rule has gathered for one message, and when that is due."""

    rule: Rule
    due: float
    entries: list[Entry] = field(default_factory=list)


class Leaving(Exception):
    """The end came before a message was through; it stays in the outbox."""


class Teller:
    """`read`: the number of the last alert looked at. Those of digests that aren't due yet are not done."""

    def __init__(self, name: str, settings: ChannelSettings, office: Office) -> None:
        self.name = name
        self.settings = settings
        self.office = office
        self.leave = threading.Event()
        self.read = 0
        self.saved = 0
        self.current = False  # `read` is what Redis says
        self.digests: dict[str, Digest] = {}
        self.channel: Channel | None = None
        self.thread = threading.Thread(target=self._run, name=f"channel {name}", daemon=True)

    def begin(self) -> None:
        """Note where the channel begins, then tell. Raises `redis.RedisError`."""
        self.office.outbox.begin(self.name)
        self.thread.start()

    def over(self) -> bool:
        """Whether to come to an end."""
        return self.leave.is_set() or self.office.ending.is_set()

    def _run(self) -> None:
        while not self.over():
            if not self.office.ours.wait(READ_MILLISECONDS / 1000):
                self.current = False
                continue
            try:
                self._turn()
            except Leaving:
                return
            except redis.RedisError as error:
                self.current = False
                log.warning("no notifications now", extra={"channel": self.name, "reason": str(error)})
                self._wait(OUTAGE_SECONDS)
            except ChannelError as error:
                log.error("no notifications", extra={"channel": self.name, "reason": error.problem})
                self._count("retried")
                self._wait(10 * OUTAGE_SECONDS)
            except Exception:  # a fault of ours: the alert stays in the outbox, the thread lives, everybody can see it
                self.current = False
                log.exception("no notifications", extra={"channel": self.name})
                self._count("retried")
                self._wait(10 * OUTAGE_SECONDS)

    def _turn(self) -> None:
        outbox = self.office.outbox
        if not self.current:
            self.digests.clear()
            self.read = self.saved = outbox.begin(self.name)
            self.current = True
        last = outbox.last()
        if last < self.read:  # Redis has gone back in time, and what this channel is done with, with it
            self.current = False
            return
        self.office.metrics.waiting.labels(self.name).set(last - self.saved)
        for entry in outbox.after(self.read, READ_MILLISECONDS):
            self._count("dropped", entry.number - self.read - 1)  # the outbox was full
            self._take(entry)
            self.read = entry.number
            self._save()
        for name, digest in list(self.digests.items()):
            if time.monotonic() >= digest.due:
                messages = [entry.record for entry in digest.entries]
                self._deliver(digest_message(messages, name), len(messages))
                del self.digests[name]
        self._save()

    def _take(self, entry: Entry) -> None:
        """An alert: sent, put into a digest, or none of this channel's business."""
        book, record = self.office.book(), entry.record
        if record.get("kind") == "summary":
            if self.name in book.summary.channels:
                self._deliver(summary_message(record))
            return
        known = book.telling(self.name)
        mine = [known[rule] for rule in record["rules"] if rule in known]
        admitted = [rule for rule in mine if self.office.outbox.admits(rule, record)]
        if mine and not admitted:
            self._count("held")
        elif prompt := [rule.name for rule in admitted if not rule.digest]:
            self._deliver(message_of(record, prompt))
        elif admitted:
            rule = min(admitted, key=lambda one: one.digest)
            fresh = Digest(rule, time.monotonic() + rule.digest)
            self.digests.setdefault(rule.name, fresh).entries.append(entry)

    def _deliver(self, message: Message, alerts: int = 1) -> None:
        """Send it, again and again if need be; then it is done with. Raises `Leaving`, `ChannelError`."""
        wait = FIRST_WAIT
        for tried in range(1, TRIES + 1):
            if self.channel is None:
                self.channel = self.office.make(self.name, self.settings)
            try:
                self.channel.send(message)
            except NotSent as failed:
                self.channel = None  # its secret may be another by now
                extra = {"channel": self.name, "id": message.id, "reason": str(failed)}
                if not failed.again or tried == TRIES:
                    log.error("notification dropped", extra=extra)
                    self._count("dropped", alerts)
                    return
                log.warning("notification not sent yet", extra=extra)
                self._count("retried", alerts)
                # Spread a little: channels of many workers may wait for one service.
                self._wait(max(failed.after or 0.0, wait * random.uniform(0.8, 1.2)))  # noqa: S311
                wait = min(2 * wait, LONGEST_WAIT)
                if self.over() or not self.office.ours.is_set():
                    raise Leaving from failed
            else:
                self._count("sent", alerts)
                return

    def _save(self) -> None:
        """Up to where all is done."""
        waiting = [entry.number for digest in self.digests.values() for entry in digest.entries]
        done = min(waiting) - 1 if waiting else self.read
        if done != self.saved:
            self.office.outbox.done(self.name, done)
            self.saved = done

    def _count(self, outcome: str, alerts: int = 1) -> None:
        self.office.metrics.notifications.labels(self.name, outcome).inc(alerts)

    def _wait(self, seconds: float) -> None:
        """So long, or until the end."""
        until = time.monotonic() + seconds
        while not self.over() and (left := until - time.monotonic()) > 0:
            self.office.ending.wait(min(left, READ_MILLISECONDS / 1000))
