"""What a plan covers, what it leaves to fastavro, and that no schema makes one without bound."""

import io
import json
import time
from collections.abc import Mapping
from typing import Any

import fastavro
import numpy as np
import pytest

from skimstream.schemas.columns import Wanted
from skimstream.schemas.decode import Decoder
from skimstream.schemas.errors import DecodeError
from skimstream.schemas.gather import gather
from skimstream.schemas.limits import MESSAGE_BYTES
from skimstream.schemas.plan import NotCovered, Plan, compile_plan
from skimstream.schemas.project import project
from skimstream.schemas.reader import parse_schema, read_record


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def plan(schema: Any, wanted: Wanted) -> Plan:
    return compile_plan(parse_schema(json.dumps(schema).encode()), wanted)


def write(schema: Any, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


X = Wanted(numbers=("x",))
TABLE = Wanted(tables={"x": X})
ROW = record("row", x="double")
OTHER = record("other", x="int")
MAP = {"type": "map", "values": "double"}
ENUM = {"type": "enum", "name": "e", "symbols": ["A"]}
FIXED = {"type": "fixed", "name": "f", "size": 2}

# What the field x is, what is wanted of it, a value, and whether the plain way reads it.
NOT_COVERED = [
    pytest.param("string", X, "a", False, id="a number, but it is text"),
    pytest.param(["null", "string"], X, "a", False, id="a number, but it is nullable text"),
    pytest.param(["null", "string"], X, None, True, id="a number, but it is nullable text, and null"),
    pytest.param(["null", "double", "string"], X, 1.5, True, id="a number, but one branch is text"),
    pytest.param(ROW, X, {"x": 1.0}, False, id="a number, but it is a record"),
    pytest.param(array("double"), X, [1.0], False, id="a number, but it is an array"),
    pytest.param(MAP, X, {"a": 1.0}, False, id="a number, but it is a map"),
    pytest.param(ENUM, X, "A", False, id="a number, but it is an enum"),
    pytest.param(FIXED, X, b"ab", False, id="a number, but it is fixed"),
    pytest.param("double", Wanted(integers=("x",)), 1.0, False, id="an integer, but it is a double"),
    pytest.param("long", Wanted(texts=("x",)), 5, True, id="a text, but it is a number"),
    pytest.param("bytes", Wanted(texts=("x",)), b"a", False, id="a text, but it is bytes"),
    pytest.param(MAP, Wanted(numbers=("x.a",)), {"a": 1.5}, True, id="a path into a map"),
    pytest.param([array(ROW), OTHER], Wanted(numbers=("x.x",)), [{"x": 1.0}], True, id="a path, but into an array too"),
    pytest.param("double", Wanted(numbers=("x", "x")), 1.0, True, id="one path twice"),
    pytest.param("double", Wanted(("x",), ("y",), ("x",)), 1.0, False, id="one path as two kinds"),
    pytest.param(["double", OTHER], Wanted(("x", "x.x")), 1.0, True, id="a path inside of what is wanted"),
    pytest.param([array(ROW), OTHER], Wanted(("x.x",), tables={"x": X}), [], True, id="a path inside of a table"),
    pytest.param(array("double"), TABLE, [], True, id="a table, but it is an array of numbers"),
    pytest.param(array(["double", ROW]), TABLE, [{"x": 1.0}], True, id="a table, but its items are more than records"),
    pytest.param({"type": "map", "values": ROW}, TABLE, {"a": {"x": 1.0}}, False, id="a table, but it is a map"),
    pytest.param(ROW, TABLE, {"x": 1.0}, False, id="a table, but it is a record"),
    pytest.param(["null", ROW], TABLE, None, True, id="a table, but it is a nullable record"),
    pytest.param("long", TABLE, 5, False, id="a table, but it is a number"),
    pytest.param(["null", "long"], TABLE, 5, False, id="a table, but it is a nullable number"),
    pytest.param(["null", "string", array(ROW)], TABLE, [{"x": 1.0}], True, id="a table, but one branch is text"),
]


@pytest.mark.parametrize(("kind", "wanted", "value", "reads"), NOT_COVERED)
def test_what_is_not_covered_is_read_by_fastavro(kind: Any, wanted: Wanted, value: Any, reads: bool) -> None:
    schema = record("r", x=kind)
    with pytest.raises(NotCovered):
        plan(schema, wanted)
    message = write(schema, {"x": value})
    decoded = Decoder(wanted, "plain", schema).decode([message, message])
    assert decoded.index.tolist() == ([0, 1] if reads else [])
    assert [one.error.reason for one in decoded.rejected] == ([] if reads else ["invalid"] * 2)
    if reads:
        expected = gather([read_record(message, fastavro.parse_schema(schema))] * 2, wanted)
        assert np.array_equal(decoded.columns.numbers, expected.numbers, equal_nan=True)
        for path in wanted.tables:
            assert decoded.columns.table(path)[0].tolist() == expected.table(path)[0].tolist()


@pytest.mark.parametrize(
    "schema",
    [
        "long",
        ["null", "long"],
        array(ROW),
        MAP,
        ["null", ROW],
        [ROW, array("row")],
        {"type": "array", "items": "string"},
    ],
)
@pytest.mark.parametrize("wanted", [X, Wanted(), TABLE])
def test_only_records_are_messages(schema: Any, wanted: Wanted) -> None:
    with pytest.raises(NotCovered, match="not a record"):
        plan(schema, wanted)


COVERED = [
    pytest.param("double", X, id="plain"),
    pytest.param("null", Wanted(("x",), (), ("y",), {"z": X}), id="null, and fields that the writer lacks"),
    pytest.param(["null", "float"], X, id="nullable"),
    pytest.param(["boolean", "null"], Wanted(integers=("x",)), id="nullable, the other way round"),
    pytest.param([{"type": "long", "logicalType": "timestamp-micros"}, "null"], X, id="a logical type"),
    pytest.param(["null", "int", "double", "boolean"], X, id="a union of numbers"),
    pytest.param(["string", ENUM], Wanted(texts=("x",)), id="a union of texts"),
    pytest.param(["null", "string"], Wanted(numbers=("x.y",)), id="a path through a primitive"),
    pytest.param(array(ROW), Wanted(numbers=("x.x",)), id="a path through an array"),
    pytest.param(array(ROW), Wanted(("x.x",), tables={"x": X}), id="a path through a table"),
    pytest.param("double", Wanted(numbers=("x", "x.y")), id="a path through what is wanted"),
    pytest.param(["null", ROW, OTHER], Wanted(numbers=("x.x",)), id="one path in two records"),
    pytest.param(["null", array(["null", ROW])], TABLE, id="a nullable table of nullable records"),
]


@pytest.mark.parametrize(("kind", "wanted"), COVERED)
def test_what_is_covered(kind: Any, wanted: Wanted) -> None:
    assert len(plan(record("r", x=kind), wanted).program) >= 1


@pytest.mark.parametrize(("kind", "value"), [("double", 1.5), (array(ROW), [{"x": 1.0}]), (["null", "string"], "a")])
def test_a_path_that_leads_nowhere_is_null(kind: Any, value: Any) -> None:
    schema = record("r", x=kind)
    columns, _ = run(schema, Wanted(numbers=("x.x", "y")), write(schema, {"x": value}))
    assert columns.number_null.tolist() == [[True, True]]
    assert len(plan(schema, Wanted(("x.x", "y"))).program) == len(plan(schema, Wanted()).program)


def test_neighbours_that_nobody_wants_are_one_skip_but_not_across_a_jump() -> None:
    schema = record(
        "r", a="double", b="float", inner=record("i", c="boolean", d=FIXED), u=["int", "string"], e="double"
    )
    program = plan(schema, Wanted()).program
    assert program[0].tolist() == [1, -1, 0, 8 + 4 + 1 + 2]
    message = b"\x00" * 15 + b"\x02\x02a" + b"\x00" * 8
    _, status = run(schema, Wanted(), message, message[:-1])
    assert status == [True, False]


def run(schema: Any, wanted: Wanted, *messages: bytes) -> tuple[Any, list[bool]]:
    sizes = np.array([len(one) for one in messages], np.int64)
    ends = np.cumsum(sizes)
    columns, status = project(plan(schema, wanted), np.frombuffer(b"".join(messages), np.uint8), ends - sizes, ends)
    return columns, [code == 0 for code in status]


def test_ids_near_two_to_the_62_stay_exact() -> None:
    ids = [2**62 - 1, 2**62, 2**62 + 1, -(2**62) - 1]
    schema = record("r", x=["null", "long"])
    columns, _ = run(schema, Wanted(integers=("x",)), *(write(schema, {"x": one}) for one in ids))
    assert columns.integer("x").tolist() == ids


def test_the_same_field_of_two_records_in_a_union_is_one_column() -> None:
    schema = record("r", x=["null", record("a", v="int"), record("b", w="string", v="double")])
    columns, _ = run(schema, Wanted(numbers=("x.v",)), b"\x02\x06", b"\x04\x00" + np.float64(0.5).tobytes(), b"\x00")
    assert columns.number("x.v").tolist()[:2] == [3.0, 0.5]
    assert columns.null("x.v").tolist() == [False, False, True]


def test_a_union_of_two_nulls_takes_a_byte() -> None:
    schema = record("r", x=["null", "null"], y="int")
    columns, _ = run(schema, Wanted(integers=("y",)), b"\x00\x06", b"\x02\x08")
    assert columns.integer("y").tolist() == [3, 4]


def test_an_enum_used_twice_keeps_its_symbols_once() -> None:
    schema = record("r", a=ENUM, b="e", c=["null", "e"], d={"type": "enum", "name": "o", "symbols": ["B", "C"]})
    compiled = plan(schema, Wanted(texts=("a", "b", "c", "d")))
    assert compiled.symbol_text.tobytes() == b"ABC"
    assert compiled.symbols[:, 2].tolist() == [1, 0, 2, 1, 0]
    columns, _ = run(schema, Wanted(texts=("a", "b", "c", "d")), b"\x00\x00\x02\x00\x02")
    assert [columns.text(path).at(0) for path in "abcd"] == ["A", "A", "A", "C"]


# Schemas that mean harm.


def laughs(levels: int, **leaf: Any) -> dict[str, Any]:
    """Each record holds the one before it twice."""
    fields = {f"r{i}": record(f"R{i}", a=f"R{i - 1}", b=f"R{i - 1}") for i in range(1, levels)}
    return record("top", r0=record("R0", **leaf), **fields)


def chain(levels: int, through: str) -> dict[str, Any]:
    """Each record holds the one before it once, and none is written inside another."""

    def link(before: str) -> Any:
        return {"record": before, "union": ["null", before], "array": array(before)}[through]

    return record(
        "top", r0=record("R0", v="long"), **{f"r{i}": record(f"R{i}", a=link(f"R{i - 1}")) for i in range(1, levels)}
    )


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(laughs(30, v="long"), id="2^30 rows"),
        pytest.param(laughs(30, v="double"), id="2^30 fields that merge into one row"),
        pytest.param(laughs(30), id="2^30 records without a field"),
        pytest.param(laughs(30, v="null"), id="2^30 nulls"),
        pytest.param(laughs(30, v=["null", ENUM]), id="2^30 enums"),
        pytest.param(laughs(30, v=["null", "int", "string"]), id="2^30 unions"),
        *[pytest.param(chain(900, through), id=f"900 deep, by {through}") for through in ("record", "union", "array")],
    ],
)
@pytest.mark.parametrize("wanted", [Wanted(), X])
def test_schemas_that_unfold_without_bound_are_refused(schema: Mapping[str, Any], wanted: Wanted) -> None:
    began = time.perf_counter()
    with pytest.raises(DecodeError, match="schema_refused"):
        plan(schema, wanted)
    assert time.perf_counter() - began < 2
    decoded = Decoder(wanted, "plain", schema).decode([b"\x00"])
    assert [one.error.reason for one in decoded.rejected] == ["schema_refused"]


def test_depth_counts_through_names() -> None:
    assert len(plan(chain(31, "record"), X).program) > 1
    assert len(plan(chain(15, "array"), X).program) > 1
    with pytest.raises(DecodeError, match="nest deeper than 32"):
        plan(chain(33, "record"), X)


def test_skips_longer_than_int32_take_several_rows() -> None:
    fields = {f"f{i}": {"type": "fixed", "name": f"F{i}", "size": MESSAGE_BYTES} for i in range(600)}
    program = plan(record("r", **fields), Wanted()).program
    assert program[:, 3].astype(np.int64).sum() == 600 * MESSAGE_BYTES


def test_an_enum_of_many_symbols_used_many_times_is_cheap() -> None:
    many = {"type": "enum", "name": "e", "symbols": [f"s{i}" for i in range(10_000)]}
    compiled = plan(record("r", x=many, **{f"f{i}": "e" for i in range(1_500)}), Wanted())
    assert len(compiled.symbols) == 10_001
