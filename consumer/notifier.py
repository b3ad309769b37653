"""Tells people. Each channel reads the outbox in a thread of its own: a slow one holds up nobody, least of all scoring.

At least once, each alert under its id: a channel's place in the outbox moves when it is done with an alert. One worker
of a stream notifies; another takes over when it falls silent.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

import redis

from .channel import Channel, ChannelSettings, channel_of
from .monitor_metrics import MonitorMetrics
from .outbox import LEASE_SECONDS, Outbox
from .rulebook import Book
from .teller import Teller

log = logging.getLogger(__name__)

# At the end, channels may finish the message in hand.
FAREWELL_SECONDS = 2.0


class Notifier:
    """All channels of one stream. `book()` answers what is in force; `also()` is called while we are who notifies."""

    def __init__(
        self,
        outbox: Outbox,
        book: Callable[[], Book],
        metrics: MonitorMetrics,
        make: Callable[[str, ChannelSettings], Channel] = channel_of,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self.outbox = outbox
        self.book = book
        self.metrics = metrics
        self.make = make
        self.also = also
        self.who = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.ours = threading.Event()  # we are the one who notifies
        self.ending = threading.Event()
        self.tellers: dict[str, Teller] = {}
        self.keeper = threading.Thread(target=self._keep, name="notifier", daemon=True)

    def __enter__(self) -> "Notifier":
        """Note where channels begin, before anything is committed; then notify."""
        self._meet()
        self.keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the messages in hand, if they can be; the others wait in the outbox."""
        self.ending.set()
        until = time.monotonic() + FAREWELL_SECONDS
        for thread in (self.keeper, *(teller.thread for teller in self.tellers.values())):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        if self.ours.is_set():
            try:
                self.outbox.release(self.who)
            except redis.RedisError as error:
                log.warning("notifications not handed over", extra={"reason": str(error)})

    def _keep(self) -> None:
        """Stay the one who notifies, and have a teller for each channel."""
        while not self.ending.is_set():
            try:
                self._meet()
                held = bool(self.book().channels) and self.outbox.lease(self.who)
                if held:
                    self.ours.set()
                    self.also()
                else:
                    self.ours.clear()
            except redis.RedisError as error:
                self.ours.clear()
                log.warning("no notifications now", extra={"reason": str(error)})
            except Exception:  # a fault of ours, that everybody can see; the channels go on
                log.exception("no summaries now")
            self.ending.wait(LEASE_SECONDS / 5)

    def _meet(self) -> None:
        """A teller for each channel that there is; one whose settings have changed is replaced."""
        channels = self.book().channels
        for name, teller in list(self.tellers.items()):
            if channels.get(name) != teller.settings:
                teller.leave.set()
                if not teller.thread.is_alive():
                    del self.tellers[name]
        for name, settings in channels.items():
            if name not in self.tellers:
                teller = Teller(name, settings, self)
                teller.begin()
                self.tellers[name] = teller
