"""A batch of messages → columns, and the messages that can't be read with the reason why."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import fastavro
import numpy as np
from fastavro.schema import SchemaParseException, UnknownType

from .columns import Columns, Ints, Wanted
from .container import only_block, read_block, read_header
from .errors import DecodeError
from .gather import gather
from .limits import MESSAGE_BYTES, SCHEMA_BYTES, check_schema

Framing = Literal["container", "plain"]
#: A topic carries a handful of writer schemas at a time; ZTF's whole history has twelve.
SCHEMAS_KEPT = 64

# What fastavro raises on damaged bytes (60,000 mutated alerts: these and no others).
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


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that can't be read: its place in the batch, why, and a sentence for people."""

    index: int
    error: DecodeError


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable messages of a batch as columns; row i came from message `index[i]`."""

    columns: Columns
    index: Ints
    rejected: tuple[Rejected, ...]


class Decoder:
    """Reads `wanted` from every message of a topic.

    framing "container": each message is an Avro object container with one record and its schema.
    framing "plain": each message is a bare record, written with the pinned `schema` (parsed JSON).
    Both are read by fastavro here, with every schema checked against `limits` before data is touched.
    """

    def __init__(self, wanted: Wanted, framing: Framing = "container", schema: Mapping[str, Any] | None = None) -> None:
        if (framing == "plain") != (schema is not None):
            raise ValueError("the framing 'plain' needs a schema; 'container' brings its own")
        self.wanted = wanted
        self.framing = framing
        self.pinned = None if schema is None else parse_schema(json.dumps(schema).encode())

    def decode(self, messages: Sequence[bytes | None]) -> Decoded:
        """Columns of all readable messages, in order, and the rest with reasons. Never raises for a message's sake."""
        records, index, rejected = [], [], []
        for i, message in enumerate(messages):
            try:
                records.append(self._record(message))
                index.append(i)
            except DecodeError as error:
                rejected.append(Rejected(i, error))
        try:
            columns = gather(records, self.wanted)
        except DecodeError:
            columns, index = self._gather_singly(records, index, rejected)
        return Decoded(columns, np.array(index, np.int64), tuple(rejected))

    def _gather_singly(
        self, records: list[Mapping[str, Any]], index: list[int], rejected: list[Rejected]
    ) -> tuple[Columns, list[int]]:
        """Reject just the records that hold a value of the wrong kind."""
        kept = []
        for place, (i, record) in enumerate(zip(index, records, strict=True)):
            try:
                gather([record], self.wanted)
                kept.append(place)
            except DecodeError as error:
                rejected.append(Rejected(i, error))
        rejected.sort(key=lambda one: one.index)
        return gather([records[place] for place in kept], self.wanted), [index[place] for place in kept]

    def _record(self, message: bytes | None) -> Mapping[str, Any]:
        if message is None:
            raise DecodeError("decode", "the message has no value (a tombstone)")
        if len(message) > MESSAGE_BYTES:
            raise DecodeError("too_large", f"{len(message)} bytes; {MESSAGE_BYTES} are allowed")
        if self.pinned is not None:
            return read_record(message, self.pinned)
        header = read_header(message)
        return read_record(only_block(message, header), parse_schema(header.schema))


@lru_cache(maxsize=SCHEMAS_KEPT)
def parse_schema(text: bytes) -> Any:
    """Check a schema's JSON text against the budgets and parse it, once. Raises `DecodeError("schema_refused")`."""
    if len(text) > SCHEMA_BYTES:
        raise DecodeError("schema_refused", f"a schema of {len(text)} bytes; {SCHEMA_BYTES} are allowed")
    try:
        schema = json.loads(text)
        check_schema(schema)
        return fastavro.parse_schema(schema)
    except RecursionError as error:
        raise DecodeError("schema_refused", "JSON nested too deeply") from error
    except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DecodeError("schema_refused", f"not a valid Avro schema: {str(error)[:200]}") from error


def read_record(data: bytes, schema: Any) -> Mapping[str, Any]:
    """One bare record, all of its bytes. Raises `DecodeError("decode")`."""
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
    schema, at = parse_schema(header.schema), header.end
    while at < len(data):
        block = read_block(data, at, header)
        at, stream, records = block.end, io.BytesIO(block.data), []
        try:
            for _ in range(block.records):
                records.append(fastavro.schemaless_reader(stream, schema, None))
        except DAMAGED as error:
            raise DecodeError("decode", f"{type(error).__name__}: {str(error)[:200]}") from error
        yield gather(cast(list[Mapping[str, Any]], records), wanted)
