"""Some records of a topic or of files, whole, as dicts: what a stream looks like before anybody has described it."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from ..consumer.batch import headers_of
from ..producer.archive import messages
from ..schemas.errors import DecodeError
from ..schemas.framing import Avro, Framing, detect, unframe
from ..schemas.reader import parse_schema, read_record, read_records
from ..schemas.registry import Registry
from .csvfile import GZIP, is_csv
from .jsonfile import is_json, json_records

FILE_BYTES = 256 << 20
Record = Mapping[str, Any]
DEPTH = 3  # of records within records; arrays are left out


def of_files(paths: Iterable[Path], count: int) -> list[dict[str, Any]]:
    """The first records of Avro, CSV and JSON-lines files, flat. CSV's are numbers where all of a column's are."""
    found: list[Record] = []
    for name, data in messages(paths, max_bytes=FILE_BYTES):
        if is_csv(name):
            try:
                text = (gzip.decompress(data) if data.startswith(GZIP) else data).decode("utf-8-sig")
            except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
                raise DecodeError("decode", f"{name}: neither UTF-8 nor gzip of it: {error}") from error
            lines = islice(csv.DictReader(io.StringIO(text, newline="")), count)
            found += _numbered([{k: v or None for k, v in one.items() if k} for one in lines])
        else:
            found += islice(json_records(data) if is_json(name) else read_records(data), count - len(found))
        if len(found) >= count:
            break
    return [flat(one) for one in found[:count]]


def of_topic(
    received: Iterable[Message], count: int, registry: Registry | None
) -> tuple[list[dict[str, Any]], set[Framing]]:
    """The first readable messages, flat, and how they are framed."""
    found: list[dict[str, Any]] = []
    framings: set[Framing] = set()
    for message in received:
        value = message.value()
        if value is None:
            continue
        try:
            known = registry.known if registry else _unknown
            framing = detect(value, message.key(), headers_of(message), known)
            record = unframe(framing, value, message.key(), registry, None)
            found.append(
                flat(read_record(record.body, parse_schema(record.schema)) if isinstance(record, Avro) else record)
            )
            framings.add(framing)
        except DecodeError:
            continue
        if len(found) == count:
            break
    return found, framings


def flat(record: Record, prefix: str = "", depth: int = DEPTH) -> dict[str, Any]:
    """Numbers, texts and truths by dotted path; nulls, too.

    >>> flat({"a": {"b": 1, "c": [1]}, "d": None})
    {'a.b': 1, 'd': None}
    """
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping) and depth:
            found |= flat(value, f"{prefix}{name}.", depth - 1)
        elif value is None or isinstance(value, (bool, int, float, str)):
            found[prefix + str(name)] = value
    return found


def _unknown(schema_id: int) -> bool:
    return False


def _numbered(lines: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Cells as numbers in columns that hold nothing else."""
    for name in lines[0] if lines else ():
        for kind in (int, float):
            try:
                cells = [None if one[name] is None else kind(one[name]) for one in lines]
            except (ValueError, KeyError):
                continue
            for line, cell in zip(lines, cells, strict=True):
                line[name] = cell
            break
    yield from lines
