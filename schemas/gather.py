"""Decoded records (dicts, as fastavro builds them) → columns: the plain way, and the reference for every faster one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .columns import LONG_MAX, LONG_MIN, Columns, Wanted
from .errors import DecodeError
from .resolve import Resolved, Source, unresolved

ABSENT = object()


def gather(records: Sequence[Mapping[str, Any]], wanted: Wanted | Resolved) -> Columns:
    """Columns of `records`, one row each.

    Records of an Avro schema need `wanted` resolved by it (`resolve`), if it has aliases or defaults. Without, a record
    has a path if its keys are there; a null on the way counts as there, and reads as null.

    Raises `DecodeError("invalid")` when a value isn't of the wanted kind (a text where a number is wanted).

    >>> columns = gather([{"a": {"b": 1.5}}, {"a": None}], Wanted(numbers=("a.b",)))
    >>> columns.number("a.b").tolist(), columns.null("a.b").tolist()
    ([1.5, nan], [False, True])
    """
    resolved = unresolved(wanted) if isinstance(wanted, Wanted) else wanted
    n, wanted = len(records), resolved.wanted
    numbers = np.full((n, len(wanted.numbers)), np.nan)
    number_null = np.zeros((n, len(wanted.numbers)), np.bool_)
    integers = np.zeros((n, len(wanted.integers)), np.int64)
    integer_null = np.zeros((n, len(wanted.integers)), np.bool_)
    start = np.zeros((n, len(wanted.texts)), np.int64)
    length = np.full((n, len(wanted.texts)), -1, np.int64)
    buffer = bytearray()
    for column, path in enumerate(wanted.numbers):
        for row, found in enumerate(_values(records, resolved.sources[path])):
            value = _number(found, path)
            number_null[row, column] = value is None
            if value is not None:
                numbers[row, column] = value
    for column, path in enumerate(wanted.integers):
        for row, found in enumerate(_values(records, resolved.sources[path])):
            whole = _integer(found, path)
            integer_null[row, column] = whole is None
            integers[row, column] = whole or 0
    for column, path in enumerate(wanted.texts):
        for row, found in enumerate(_values(records, resolved.sources[path])):
            text = _text(found, path)
            if text is not None:
                start[row, column], length[row, column] = len(buffer), len(text)
                buffer += text
    tables = {
        path: _table(_values(records, resolved.sources[path]), path, children)
        for path, children in resolved.tables.items()
    }
    return Columns(
        wanted,
        numbers,
        number_null,
        integers,
        integer_null,
        np.frombuffer(buffer, np.uint8),
        start,
        length,
        tables,
    )


def _table(values: Sequence[Any], path: str, wanted: Resolved) -> tuple[Any, Columns]:
    lists = [value or [] for value in values]
    for rows in lists:
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise DecodeError("invalid", f"{path} is not an array of records")
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists], dtype=np.int64)]).astype(np.int64)
    return offsets, gather([row for rows in lists for row in rows], wanted)


def _values(records: Sequence[Mapping[str, Any]], source: Source) -> list[Any]:
    """What each record has at the first of the paths that it has; the default if at none."""
    places = [path.split(".") for path in source.paths]
    return [_first(record, places, source.default) for record in records]


def _first(record: Any, places: Sequence[Sequence[str]], default: Any) -> Any:
    for parts in places:
        value = _at(record, parts)
        if value is not ABSENT:
            return value
    return default


def _at(record: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if record is None:
            return None
        record = record.get(part, ABSENT) if isinstance(record, Mapping) else ABSENT
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
