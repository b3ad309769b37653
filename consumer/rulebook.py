"""The rules in force. The file is looked at again and again: who changes it need not restart anything.

A file that isn't right changes nothing, and the log says why.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..schemas.errors import SkimError
from .channel import ChannelSettings
from .rule import Rule, for_stream
from .summary_settings import SummarySettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Book:
    """What the monitor goes by: a stream's rules, all channels, and the nightly summary."""

    rules: tuple[Rule, ...] = ()
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
    summary: SummarySettings = field(default_factory=SummarySettings)

    def telling(self, channel: str) -> dict[str, Rule]:
        """The rules whose matches a channel hears, by name."""
        return {rule.name: rule for rule in self.rules if channel in rule.channels}


class Rulebook:
    """The book of one stream, and the file that it comes from (None: it stays as it is).

    `read()` gives all rules and the rest anew, or raises `SkimError`.
    """

    def __init__(
        self,
        book: Book,
        stream: str,
        file: Path | None = None,
        read: Callable[[], Book] | None = None,
        told: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self.stream = stream
        self.book = self._ours(book)
        self.file = file
        self.read = read
        self.told = told
        self.seen = self._stamp()

    def refresh(self) -> bool:
        """See whether the file has changed, and go by it. Whether the book is another now."""
        stamp = self._stamp()
        if self.read is None or stamp == self.seen:
            return False
        self.seen = stamp
        try:
            book = self._ours(self.read())
        except SkimError as error:
            log.error("the rules stay as they were", extra={"file": str(self.file), "reason": str(error)})
            self.told("refused")
            return False
        changed = book != self.book
        self.book = book
        if changed:
            log.warning("new rules", extra={"file": str(self.file), "rules": [rule.name for rule in book.rules]})
            self.told("applied")
        return changed

    def _ours(self, book: Book) -> Book:
        return Book(for_stream(book.rules, self.stream), book.channels, book.summary)

    def _stamp(self) -> tuple[int, int, int] | None:
        """What changes with the file's content; a file that is just being replaced may be gone for a moment."""
        if self.file is None:
            return None
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
