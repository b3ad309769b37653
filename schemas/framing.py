"""How a record travels in a Kafka message: the six framings of the public streams, told apart message by message.

This is the general way, one message at a time; the batch path takes over for schemas that it already knows.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from .container import MAGIC, only_block, read_header
from .errors import DecodeError
from .limits import BLOCK_BYTES, BSON_ZEROS, MESSAGE_BYTES, SCHEMA_BYTES, SCHEMA_DEPTH, VALUES
from .registry import Registry

#: container: ZTF, Babamul, AMPEL. confluent: Rubin. key (the schema is the message's key): Fink. plain (a bare record,
#: its schema pinned by the settings, never detected). bson (zlib around it): ANTARES. json: Lasair, GCN, web events.
Framing = Literal["container", "confluent", "key", "plain", "bson", "json"]

# The byte 0 and a schema id of four bytes, big-endian (Rubin's documentation says little-endian; its messages don't).
CONFLUENT_PREFIX = 5
#: What a Kafka header `_format` (Hopskotch) may say, and what that is here.
FORMATS: Mapping[str, Framing] = {"avro": "container", "json": "json"}
# Fink sends one schema a topic; a key has SCHEMA_BYTES at most, so this many can't hold more than 16 MiB.
KEYS_KEPT = 64
# A 64-bit integer has 20 characters at most, its sign included.
LONG_CHARACTERS = 20
NESTING = (dict, list)
# Half of a UTF-16 pair, escaped: alone it is no text, and can't be written as UTF-8.
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Avro(NamedTuple):
    """Exactly one bare record, decompressed, and the JSON text of the schema that wrote it."""

    schema: bytes
    body: bytes


def detect(
    value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]] | None, known: Callable[[int], bool]
) -> Framing:
    """The framing of one message, by what it says of itself before what its first byte looks like.

    In this order: the header `_format`; `Obj` and 1; a key that is a record's schema (a bare record may start with any
    byte); 0 and a schema id that is `known` (`Registry.known`); a zlib header; `{`. Raises
    `DecodeError("schema_unknown")` for all else. "plain" can't be seen in a message: it is only ever set.

    >>> detect(b'{"user_id": "u1"}', None, None, known=lambda schema_id: False)
    'json'
    """
    named = next((said for name, said in headers or () if name == "_format"), None)
    if named is not None:
        name = named.decode("utf-8", "replace").lower()
        if name not in FORMATS:
            raise DecodeError("schema_unknown", f"the header _format says {name[:40]!r}; avro and json can be read")
        return FORMATS[name]
    if value.startswith(MAGIC):
        return "container"
    if key is not None and is_schema(key):
        return "key"
    schema_id = confluent_id(value)
    if schema_id is not None and known(schema_id):
        return "confluent"
    # RFC 1950: 0x78 is deflate with its usual window, and the first two bytes are a multiple of 31.
    if value[:1] == b"\x78" and int.from_bytes(value[:2], "big") % 31 == 0:
        return "bson"
    if value[:1] == b"{":
        return "json"
    if schema_id is not None:
        raise DecodeError("schema_unknown", f"no schema with the id {schema_id} in the registry or the local folder")
    raise DecodeError("schema_unknown", f"none of the framings starts with {value[:4]!r}; set the topic's framing")


def unframe(
    framing: Framing, value: bytes, key: bytes | None, registry: Registry | None, pinned: bytes | None
) -> Avro | Mapping[str, Any]:
    """Take one record out of a message: bare Avro and its schema, or the decoded record itself (bson, json).

    `pinned` is the schema's JSON text for "plain". Raises `DecodeError` and nothing else, whatever the bytes are. The
    schema is not checked here: `parse_schema` does that, once a schema. JSON: keys twice in an object are refused;
    NaN and infinities pass as such, for the stream's own checks to judge; integers beyond 64 bits become floats.
    """
    if len(value) > MESSAGE_BYTES:
        raise DecodeError("too_large", f"{len(value)} bytes; {MESSAGE_BYTES} are allowed")
    match framing:
        case "container":
            header = read_header(value)
            return Avro(header.schema, only_block(value, header))
        case "confluent":
            schema_id = confluent_id(value)
            if schema_id is None:
                raise DecodeError("decode", "not Confluent's framing (byte 0 and a schema id of four bytes)")
            if registry is None:
                raise DecodeError("schema_unknown", f"the schema id {schema_id}, but no registry or folder is set")
            return Avro(registry.schema(schema_id), value[CONFLUENT_PREFIX:])
        case "key":
            if key is None or not is_schema(key):
                raise DecodeError("schema_unknown", "the message's key is not the JSON text of a record's schema")
            return Avro(key, value)
        case "plain":
            if pinned is None:
                raise DecodeError("schema_unknown", "the framing 'plain' needs a pinned schema")
            return Avro(pinned, value)
        case "bson":
            return _bson(_inflate(value))
        case "json":
            return _content(_json(value))


def confluent_id(value: bytes) -> int | None:
    """The schema id of a message in Confluent's framing, None where it can't be one.

    >>> confluent_id(b"\\x00\\x00\\x00\\x02\\xc0 and a record")
    704
    """
    if len(value) < CONFLUENT_PREFIX or value[0] != 0:
        return None
    return int.from_bytes(value[1:CONFLUENT_PREFIX], "big")


def is_schema(key: bytes) -> bool:
    """Whether a message's key is the JSON text of a record's schema. Cheap for keys of any other kind.

    >>> is_schema(b'{"type": "record", "name": "r", "fields": []}'), is_schema(b'{"user_id": 7}')
    (True, False)
    """
    # Ordinary keys end here, and so never push a schema out of the cache.
    return key[:1] == b"{" and len(key) <= SCHEMA_BYTES and b'"fields"' in key and _is_record(key)


@lru_cache(maxsize=KEYS_KEPT)
def _is_record(text: bytes) -> bool:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(schema, dict) and schema.get("type") == "record" and isinstance(schema.get("fields"), list)


def _inflate(value: bytes) -> bytes:
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(value, BLOCK_BYTES)
    except zlib.error as error:
        raise DecodeError("decode", f"zlib: {error}") from error
    if len(plain) >= BLOCK_BYTES:
        raise DecodeError("too_large", f"{BLOCK_BYTES} bytes or more when decompressed")
    if not inflate.eof or inflate.unused_data:
        raise DecodeError("decode", "zlib: cut short, or bytes are left over after its end")
    return plain


def _bson(data: bytes) -> Mapping[str, Any]:
    """One BSON document (bsonspec.org 1.1), times in UTC; of a key that comes twice the last value counts."""
    try:
        import bson
        from bson.codec_options import CodecOptions, DatetimeConversion
        from bson.errors import BSONError
    except ImportError as error:
        detail = "BSON (ANTARES) needs the package pymongo: pip install 'skimstream[antares]'"
        raise DecodeError("schema_unknown", detail) from error
    # AUTO: years that Python's datetime doesn't have come as DatetimeMS, rather than losing the whole record.
    if data.count(0) > BSON_ZEROS:
        raise DecodeError("too_large", f"BSON with more than {BSON_ZEROS} zero bytes, and so perhaps as many values")
    options = CodecOptions[dict[str, Any]](tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    try:
        record = bson.decode(data, options)
    except (BSONError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise DecodeError("decode", f"BSON: {str(error)[:200]}") from error
    _check_depth(record)
    return record


def _json(value: bytes) -> Mapping[str, Any]:
    """One JSON object (RFC 8259) in UTF-8."""
    if sum(map(value.count, b",[{")) > VALUES:  # at least one of them before every value
        raise DecodeError("too_large", f"JSON of more than {VALUES} values")
    try:
        # Decoded here, since json.loads would take bytes for UTF-16 or 32 when they look like it.
        record = json.loads(value.decode(), object_pairs_hook=_object, parse_int=_integer)
    except RecursionError as error:
        raise DecodeError("decode", f"JSON nested deeper than {SCHEMA_DEPTH} levels") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are kinds of it
        raise DecodeError("decode", f"JSON: {str(error)[:200]}") from error
    if not isinstance(record, dict):
        raise DecodeError("invalid", f"the message is a JSON {type(record).__name__}, not an object")
    _check_depth(record)
    if SURROGATE.search(value):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DecodeError("decode", "JSON: a text holds half of a surrogate pair") from error
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise DecodeError("decode", "JSON: an object has the same key twice")
    return record


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONG_CHARACTERS else float(digits)


def _check_depth(record: Mapping[str, Any]) -> None:
    """Level by level, so that no depth can exhaust this check itself."""
    level: list[Any] = [record]
    for _ in range(SCHEMA_DEPTH):
        inside = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for children in inside for child in children if isinstance(child, NESTING)]
        if not level:
            return
    raise DecodeError("decode", f"nested deeper than {SCHEMA_DEPTH} levels")


def _content(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record itself, or what Hopskotch's old envelope `{"format", "content"}` holds."""
    if record.keys() != {"format", "content"} or not isinstance(record["format"], str):
        return record
    # Before there were headers, hop-client labelled JSON as "blob".
    if record["format"].lower() not in ("json", "blob"):
        raise DecodeError("schema_unknown", f"a Hopskotch envelope of the format {record['format'][:40]!r}")
    if not isinstance(record["content"], dict):
        raise DecodeError("invalid", "the content of a Hopskotch envelope is not an object")
    return record["content"]
