"""Labels of recorded events: a file of known anomalies, or a column of the CSV."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..consumer.streams.base import Stream
from ..schemas.columns import Columns
from ..schemas.errors import SkimError
from ..scoring.errors import ModelError

TRUE, FALSE = ("1", "1.0", "true", "yes", "anomaly"), ("0", "0.0", "false", "no", "normal")


class LabelError(SkimError):
    """Labels can't be read; `where` is the file or the column."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"labels, {where}: {problem}")
        self.where = where
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Labels:
    """Where labels come from: the event ids of known anomalies, or a column of the CSV files."""

    known: frozenset[str] | None = None
    column: str | None = None

    @classmethod
    def read(cls, path: Path) -> "Labels":
        """From JSON lines with an `event_id` each, as `skim simulate --truth` writes them."""
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
            return cls(known=frozenset(str(line["event_id"]) for line in lines))
        except OSError as error:
            raise ModelError(f"can't be read: {error.strerror}", where=str(path)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError("every line must be a JSON object with an event_id", where=str(path)) from error

    def of(self, stream: Stream, columns: Columns, rows: Sequence[int]) -> list[bool] | None:
        """The labels of these rows; None if there are none to be had."""
        if self.column is not None:
            text = columns.text(self.column)
            return [_truth(self.column, text.at(row)) for row in rows]
        if self.known is None:
            return None
        return [stream.event_id(columns, row) in self.known for row in rows]


def _truth(column: str, cell: str | None) -> bool:
    text = (cell or "").strip().lower()
    if text not in (*TRUE, *FALSE):
        raise LabelError(column, f"{cell!r} is neither of {', '.join(TRUE)} nor of {', '.join(FALSE)}")
    return text in TRUE
