"""Decoded records (dicts, as fastavro builds them) → columns: the plain way, and the reference for every faster one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .columns import Columns, Wanted
from .errors import DecodeError

LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1


def gather(records: Sequence[Mapping[str, Any]], wanted: Wanted) -> Columns:
    """Columns of `records`, one row each.

    Raises `DecodeError("invalid")` when a value isn't of the wanted kind (a text where a number is wanted).

    >>> columns = gather([{"a": {"b": 1.5}}, {"a": None}], Wanted(numbers=("a.b",)))
    >>> columns.number("a.b").tolist(), columns.null("a.b").tolist()
    ([1.5, nan], [False, True])
    """
    n = len(records)
    numbers = np.full((n, len(wanted.numbers)), np.nan)
    number_null = np.zeros((n, len(wanted.numbers)), np.bool_)
    integers = np.zeros((n, len(wanted.integers)), np.int64)
    integer_null = np.zeros((n, len(wanted.integers)), np.bool_)
    start = np.zeros((n, len(wanted.texts)), np.int64)
    length = np.full((n, len(wanted.texts)), -1, np.int64)
    buffer = bytearray()
    for column, path in enumerate(wanted.numbers):
        parts = path.split(".")
        for row, record in enumerate(records):
            value = _number(_at(record, parts), path)
            number_null[row, column] = value is None
            if value is not None:
                numbers[row, column] = value
    for column, path in enumerate(wanted.integers):
        parts = path.split(".")
        for row, record in enumerate(records):
            whole = _integer(_at(record, parts), path)
            integer_null[row, column] = whole is None
            integers[row, column] = whole or 0
    for column, path in enumerate(wanted.texts):
        parts = path.split(".")
        for row, record in enumerate(records):
            text = _text(_at(record, parts), path)
            if text is not None:
                start[row, column], length[row, column] = len(buffer), len(text)
                buffer += text
    tables = {path: _table(records, path, children) for path, children in wanted.tables.items()}
    return Columns(
        wanted,
        numbers,
        number_null,
        integers,
        integer_null,
        np.frombuffer(bytes(buffer), np.uint8),
        start,
        length,
        tables,
    )


def _table(records: Sequence[Mapping[str, Any]], path: str, wanted: Wanted) -> tuple[Any, Columns]:
    parts = path.split(".")
    lists = [_at(record, parts) or [] for record in records]
    for rows in lists:
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise DecodeError("invalid", f"{path} is not an array of records")
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists], dtype=np.int64)]).astype(np.int64)
    return offsets, gather([row for rows in lists for row in rows], wanted)


def _at(record: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        record = record.get(part) if isinstance(record, Mapping) else None
    return record


def _number(value: Any, path: str) -> float | None:
    if value is None or isinstance(value, (int, float)):
        return None if value is None else float(value)
    raise DecodeError("invalid", f"{path} holds {type(value).__name__}, not a number")


def _integer(value: Any, path: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and LONG_MIN <= value <= LONG_MAX:
        return int(value)
    raise DecodeError("invalid", f"{path} holds {type(value).__name__}, not a 64-bit integer")


def _text(value: Any, path: str) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):  # ZTF's first schema wrote isdiffpos as a number
        return str(int(value)).encode()
    raise DecodeError("invalid", f"{path} holds {type(value).__name__}, not text")
