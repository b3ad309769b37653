"""Logging: readable lines on a terminal, one JSON object a line elsewhere."""

import json
import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields that the caller added: partition, offset, reason …"""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class JsonLines(logging.Formatter):
    """One JSON object a line; whatever a message holds, it stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        entry = {"time": self.formatTime(record), "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({**entry, **extras(record)}, default=str)


class Readable(logging.Formatter):
    """`warning: dead letters count=1`; values as Python writes them, so control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields = " ".join(f"{name}={value!r}" for name, value in extras(record).items())
        return f"{record.levelname.lower()}: {record.getMessage()} {fields}".rstrip()


def configure(level: int) -> None:
    """Log to standard error from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Readable() if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
