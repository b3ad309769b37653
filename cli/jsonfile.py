"""Reading events from JSON lines: one object a line, as a topic of JSON messages has them."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..schemas.columns import Columns, Wanted
from ..schemas.errors import DecodeError
from ..schemas.framing import unframe
from ..schemas.gather import gather

ROWS = 10_000  # at a time


def is_json(name: str) -> bool:
    """Whether a file of this name holds JSON lines."""
    return name.lower().endswith((".json", ".jsonl", ".ndjson"))


def json_records(data: bytes) -> Iterator[Mapping[str, Any]]:
    """The object of each line. Raises `DecodeError`, naming the line."""
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                found = unframe("json", line, None, None, None)
            except DecodeError as error:
                raise DecodeError(error.reason, f"line {number}: {error.detail}") from error
            if isinstance(found, Mapping):  # it is: only other framings give bytes
                yield found


def read_json(data: bytes, wanted: Wanted) -> Iterator[Columns]:
    """Columns of JSON lines, 10,000 records at a time. Raises `DecodeError` for the first line that can't be read."""
    held: list[Mapping[str, Any]] = []
    for record in json_records(data):
        held.append(record)
        if len(held) == ROWS:
            yield gather(held, wanted)
            held = []
    yield gather(held, wanted)
