import json

import pytest

from skimstream.schemas.errors import DecodeError
from skimstream.schemas.limits import SCHEMA_DEPTH, SCHEMA_FIELDS, SCHEMA_TYPES, check_schema
from skimstream.schemas.reader import parse_schema


def record(*fields: object, name: str = "r") -> dict[str, object]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(fields)]}


def nested(depth: int) -> object:
    schema: object = "int"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def laughs(depth: int, level: int = 1) -> object:
    """Each level holds the next one twice: 2^depth records of no bytes."""
    if level == depth:
        return record("null", name=f"l{level}")
    return record(laughs(depth, level + 1), f"l{level + 1}", name=f"l{level}")


def wrapped(depth: int) -> object:
    """A record in a record in a record: one byte, many values."""
    schema: object = "int"
    for level in range(1, depth + 1):
        schema = record(schema, name=f"w{level}")
    return schema


GOOD = {
    "primitives": record("int", "string", ["null", "double"]),
    "named and used again": record({"type": "enum", "name": "e", "symbols": ["A"]}, "e"),
    "namespace": {"type": "record", "name": "a.b", "fields": [{"name": "f", "type": record("int", name="c")}]},
    "array of records": record({"type": "array", "items": record("null", "int", name="row")}),
    "nothing in items": record({"type": "array", "items": record("int", "null", "null", name="row")}),
    "records in items": record({"type": "array", "items": wrapped(3)}, {"type": "map", "values": "w3"}),
    "a nullable record of many fields": record({"type": "array", "items": ["null", record(*["int"] * 50, name="w")]}),
    "as many fields as allowed, nullable": record(*[["null", "int"]] * SCHEMA_FIELDS),
    "deep enough": nested(SCHEMA_DEPTH - 1),
    "logical type": record({"type": "long", "logicalType": "timestamp-millis"}),
}
BAD = {
    "recursive": record("r"),
    "recursive through a union": record(["null", "r"]),
    "array of nulls": record({"type": "array", "items": "null"}),
    "array of empty records": record({"type": "array", "items": record("null", name="empty")}),
    "array of empty fixed": record({"type": "array", "items": {"type": "fixed", "name": "z", "size": 0}}),
    "items that build five values of a byte": record({"type": "array", "items": record("int", *["null"] * 3)}),
    "records in records in items": record({"type": "array", "items": wrapped(4)}),
    "of a map too": record({"type": "map", "values": wrapped(8)}),
    "of a union's heaviest branch": record({"type": "array", "items": ["null", wrapped(8)]}),
    "by name": record(wrapped(4), {"type": "array", "items": "w4"}),
    "too deep": nested(SCHEMA_DEPTH + 1),
    "too many fields": record(*["int"] * (SCHEMA_FIELDS + 1)),
    "too many types": record(["int"] * SCHEMA_TYPES),
    "undefined name": record("nowhere"),
    "huge fixed": record({"type": "fixed", "name": "z", "size": 1 << 40}),
    "no fields": {"type": "record", "name": "r"},
    "nameless": {"type": "record", "fields": []},
    "empty union": record([]),
    "a number": record(7),
    "billion laughs": {
        "type": "record",
        "name": "l0",
        "fields": [
            {"name": "a", "type": laughs(24)},
            {"name": "b", "type": "l1"},
        ],
    },
}


@pytest.mark.parametrize("schema", GOOD.values(), ids=GOOD.keys())
def test_ordinary_schemas_pass(schema: object) -> None:
    check_schema(schema)
    parse_schema(json.dumps(schema).encode())


@pytest.mark.parametrize("schema", BAD.values(), ids=BAD.keys())
def test_dangerous_schemas_are_refused_before_the_reader_sees_data(schema: object) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_schema(json.dumps(schema).encode())
    assert caught.value.reason == "schema_refused"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"type": {"type": {}}}', b"null", b" " * 300_000]
)
def test_texts_that_are_no_schema_are_refused(text: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_schema(text)
    assert caught.value.reason == "schema_refused"
