"""Reading events from CSV, as archives export them: a line of names, then one record a line."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..schemas.columns import Columns, Wanted
from ..schemas.errors import DecodeError
from ..schemas.gather import gather

GZIP = b"\x1f\x8b"
ROWS = 10_000  # at a time
# How people and programs write "nothing" in a column of numbers.
NOTHING = ("", "nan", "null", "none", "--")


def is_csv(name: str) -> bool:
    """Whether a file of this name is CSV, plain or gzipped."""
    return name.lower().endswith((".csv", ".csv.gz"))


def read_csv(data: bytes, wanted: Wanted, most_bytes: int) -> Iterator[Columns]:
    """Columns of a CSV file (UTF-8, with or without a byte-order mark, perhaps gzipped), 10,000 records at a time.

    Columns are known by name; an empty cell is null, so is a wanted column that isn't there. Raises `DecodeError` for
    what isn't CSV, a cell that isn't the number it should be, and more than `most_bytes` unpacked.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            text = (packed.read(most_bytes + 1) if data.startswith(GZIP) else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DecodeError("decode", f"neither UTF-8 nor gzip of it: {error}") from error
    if len(text) > most_bytes:
        raise DecodeError("too_large", f"more than {most_bytes} bytes")
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if not {*wanted.numbers, *wanted.integers, *wanted.texts} & set(lines.fieldnames or ()):
        raise DecodeError("invalid", "no wanted column is named in the first line")
    try:
        while some := list(islice(lines, ROWS)):
            yield gather([_record(line, wanted) for line in some], wanted)
    except csv.Error as error:
        raise DecodeError("decode", f"after line {lines.line_num}: {error}") from error


def _record(line: dict[str, str | None], wanted: Wanted) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for names, kind in ((wanted.numbers, float), (wanted.integers, int)):
        for name in names:
            cell = (line.get(name) or "").strip()
            try:
                record[name] = None if cell.lower() in NOTHING else kind(cell)
            except ValueError as error:
                raise DecodeError("invalid", f"{name} is {cell[:40]!r}, not a number") from error
    return record | {name: line.get(name) or None for name in wanted.texts}
