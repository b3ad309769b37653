"""fastavro's part: parsing writer schemas, and reading records the plain way, one by one.

It is the reference that the compiled plans are tested against, and reads what they don't cover.
"""

import io
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from .columns import Columns, Wanted
from .container import Header, read_block, read_header
from .errors import DecodeError
from .gather import gather
from .limits import FALLBACK_BYTES, SCHEMA_BYTES, check_schema
from .resolve import resolve

#: A topic carries a handful of writer schemas at a time; ZTF's whole history has twelve.
SCHEMAS_KEPT = 64

# What fastavro raises on damaged bytes: it has no error of its own for them.
DAMAGED = (
    EOFError,
    IndexError,
    ValueError,
    OverflowError,
    TypeError,
    KeyError,
    AttributeError,
    MemoryError,
    StopIteration,
)


@lru_cache(maxsize=SCHEMAS_KEPT)
def parse_schema(text: bytes) -> Any:
    """Check a schema's JSON text against the budgets and parse it, once. Raises `DecodeError("schema_refused")`.

    Logical types are left out: a time or a decimal reads as the number or the bytes that it is written as.
    """
    if len(text) > SCHEMA_BYTES:
        raise DecodeError("schema_refused", f"a schema of {len(text)} bytes; {SCHEMA_BYTES} are allowed")
    try:
        schema = json.loads(text)
        check_schema(schema)
        return fastavro.parse_schema(_without_logical_types(schema))
    except RecursionError as error:
        raise DecodeError("schema_refused", "JSON nested too deeply") from error
    except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DecodeError("schema_refused", f"not a valid Avro schema: {str(error)[:200]}") from error


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical_types(one) for one in schema]
    if isinstance(schema, Mapping):
        return {
            name: value if name == "default" else _without_logical_types(value)
            for name, value in schema.items()
            if name != "logicalType"
        }
    return schema


def read_record(data: bytes, schema: Any) -> Mapping[str, Any]:
    """One bare record, all of its bytes, at most `FALLBACK_BYTES`. Raises `DecodeError`."""
    if len(data) > FALLBACK_BYTES:
        fault = f"{len(data)} bytes; {FALLBACK_BYTES} are allowed where the compiled plan doesn't cover the schema"
        raise DecodeError("too_large", fault)
    stream = io.BytesIO(data)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except DAMAGED as error:
        raise DecodeError("decode", f"{type(error).__name__}: {str(error)[:200]}") from error
    if stream.tell() != len(data):
        raise DecodeError("decode", f"{len(data) - stream.tell()} bytes are left over after the record")
    if not isinstance(record, Mapping):
        raise DecodeError("invalid", f"the message is a {type(record).__name__}, not a record")
    return record


def read_file(data: bytes, wanted: Wanted) -> Iterator[Columns]:
    """Columns of a container file, block by block. Raises `DecodeError` where it is damaged."""
    header = read_header(data)
    schema = parse_schema(header.schema)
    resolved = resolve(wanted, schema)
    for records in _blocks(data, header, schema):
        yield gather(records, resolved)


def read_records(data: bytes) -> Iterator[Mapping[str, Any]]:
    """Whole records of a container file, one after the other. Raises `DecodeError` where it is damaged."""
    header = read_header(data)
    for records in _blocks(data, header, parse_schema(header.schema)):
        yield from records


def _blocks(data: bytes, header: Header, schema: Any) -> Iterator[list[Mapping[str, Any]]]:
    at = header.end
    while at < len(data):
        block = read_block(data, at, header)
        at, stream = block.end, io.BytesIO(block.data)
        records: list[Any] = []
        try:
            for _ in range(block.records):
                records.append(fastavro.schemaless_reader(stream, schema, None))
        except DAMAGED as error:
            raise DecodeError("decode", f"{type(error).__name__}: {str(error)[:200]}") from error
        yield cast(list[Mapping[str, Any]], records)
