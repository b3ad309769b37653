"""Logging: readable lines on a terminal, one JSON object a line elsewhere."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, get_args

from ..schemas.errors import SkimError

Format = Literal["auto", "json", "text"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
# Few, and there to be seen: the line that tells idle from stuck would be of no use if it took a flag to see it.
ALWAYS_SHOWN = ("skimstream.consumer.heartbeat",)


class UnknownFormat(SkimError):
    """Logs can't be written like that."""

    def __init__(self, given: str) -> None:
        super().__init__(f"--log-format (SKIM_LOG) is one of {', '.join(get_args(Format))}, not {given!r}")
        self.given = given


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields that the caller added: partition, offset, reason …"""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def moment(seconds: float) -> str:
    """A time since 1970 in ISO 8601, UTC, with milliseconds.

    >>> moment(1_795_408_085.25)
    '2026-11-23T04:28:05.250Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line, `time`, `level` and `event` first; whatever a message holds, it stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        entry = {"time": moment(record.created), "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry | extras(record) | entry, default=str)


class Readable(logging.Formatter):
    """`warning: dead letters count=1`; values as Python writes them, so control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields = " ".join(f"{name}={value!r}" for name, value in extras(record).items())
        return f"{record.levelname.lower()}: {record.getMessage()} {fields}".rstrip()


def configure(level: int, style: str = "auto") -> None:
    """Log to standard error from `level` on; `style` "auto" is text on a terminal, JSON elsewhere."""
    if style not in get_args(Format):
        raise UnknownFormat(style)
    handler = logging.StreamHandler(sys.stderr)
    readable = sys.stderr.isatty() if style == "auto" else style == "text"
    handler.setFormatter(Readable() if readable else JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ALWAYS_SHOWN:
        logging.getLogger(name).setLevel(min(level, logging.INFO) if level < logging.ERROR else level)
