"""The compiled decoder at its limits, by hand: the longest numbers, lengths that lie, UTF-8, nesting, long tables."""

import io
import itertools
from collections.abc import Mapping
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.schemas.columns import Columns, Wanted
from skimstream.schemas.gather import gather
from skimstream.schemas.kernel import BRANCH, COUNT, FAULTS, LEFT, LENGTH, NESTED, SHORT, SYMBOL, UTF8, is_utf8
from skimstream.schemas.limits import SCHEMA_DEPTH
from stage.projection import contents, parsed, run_project

EDGES = (0, 1, -1, 63, -64, 64, 2**31 - 1, -(2**31), 2**53 + 1, 2**62 + 1, 2**63 - 1, -(2**63))


def encode(schema: Any, value: Any) -> bytes:
    """As fastavro writes it."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, value)
    return stream.getvalue()


def long(value: int) -> bytes:
    return encode("long", value)


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def read(fields: Mapping[str, Any], wanted: Wanted, *messages: bytes) -> tuple[Columns, list[str]]:
    columns, status = run_project(parsed(record("r", **fields)), wanted, messages)
    return columns, [FAULTS[code] if code else "" for code in status]


@pytest.mark.parametrize("value", [*EDGES, 2**62, 2**62 + 1, -(2**62) - 1])
def test_integers_stay_exact(value: int) -> None:
    columns, faults = read(
        {"x": "long", "y": ["null", "long"]}, Wanted(integers=("x", "y")), long(value) + b"\x02" + long(value)
    )
    assert faults == [""]
    assert columns.integers.tolist() == [[value, value]]


def test_the_longest_numbers() -> None:
    ten, eleven, overflow = b"\xff" * 9 + b"\x01", b"\xff" * 10 + b"\x01", b"\xff" * 9 + b"\x02"
    columns, faults = read({"x": "long"}, Wanted(integers=("x",)), ten, eleven, overflow, b"\xff" * 9, b"\x80\x00", b"")
    assert columns.integers[:, 0].tolist() == [-(2**63), 0]
    assert [fault[:30] for fault in faults] == [
        "",
        *["a number of more than 64 bits"] * 2,
        "the message ends inside a valu",
        "",
        "the message ends inside a valu",
    ]


@pytest.mark.parametrize(
    "kind", ["string", "bytes", {"type": "map", "values": "int"}, {"type": "array", "items": "int"}]
)
@pytest.mark.parametrize("length", [-1, -(2**63), 2**63 - 1, 2**31, 2])
def test_lengths_that_lie(kind: Any, length: int) -> None:
    wanted = Wanted(texts=("x",)) if kind == "string" else Wanted()
    _, faults = read({"x": kind}, wanted, long(length) + b"\x00")
    assert faults[0] in {FAULTS[LENGTH], FAULTS[COUNT], FAULTS[SHORT]}


@pytest.mark.parametrize("count", [2**63 - 1, -(2**63), -(2**62), 2**31, -3])
def test_tables_of_more_rows_than_bytes(count: int) -> None:
    wanted = Wanted(tables={"t": Wanted(integers=("x",))})
    size = b"" if count > 0 else long(2)
    good = long(1) + long(7) + b"\x00"
    rows = {"t": {"type": "array", "items": record("row", x="long")}}
    columns, faults = read(rows, wanted, good, long(count) + size + b"\x02\x00", good)
    assert faults == ["", FAULTS[COUNT], ""]
    assert columns.table("t")[0].tolist() == [0, 1, 2]
    assert columns.table("t")[1].integers.tolist() == [[7], [7]]


def test_branches_symbols_and_bytes_that_are_too_many() -> None:
    enum = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
    fields = {"u": ["null", "double", record("inner")], "n": ["int", "null"], "e": enum}
    good = b"\x00\x02\x00"
    bad = [b"\x06\x02\x00", b"\x01\x02\x00", b"\x00\x04\x00", b"\x00\x01\x00", b"\x00\x02\x04", b"\x00\x02\x01"]
    columns, faults = read(fields, Wanted(texts=("e",)), good, *bad, good + b"\x00", good)
    assert faults == ["", *[FAULTS[BRANCH]] * 4, *[FAULTS[SYMBOL]] * 2, FAULTS[LEFT], ""]
    assert [columns.text("e").at(row) for row in range(2)] == ["A", "A"]


def test_a_text_that_is_not_utf8_fails_where_it_is_wanted() -> None:
    bad = long(1) + b"\xff"
    assert read({"x": "string"}, Wanted(texts=("x",)), bad)[1] == [FAULTS[UTF8]]
    assert read({"x": "string"}, Wanted(), bad)[1] == [""]


LEADS = bytes([0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED])
LEADS += bytes([0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF])


def strictly(data: bytes) -> bool:
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return False
    return True


def utf8(data: bytes) -> bool:
    """As inside a message that goes on with bytes that would complete a character."""
    message = np.frombuffer(data + b"\x80" * 8, np.uint8)
    to_the_end, within = (bool(is_utf8(message.ctypes.data, 0, len(data), len(data) + more)) for more in (0, 8))
    assert to_the_end == within
    return within


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_utf8_of_every_boundary(length: int) -> None:
    for data in map(bytes, itertools.product(LEADS, repeat=length)):
        assert utf8(data) == strictly(data), data


@given(st.one_of(st.binary(max_size=20), st.text().map(str.encode), st.lists(st.sampled_from(LEADS)).map(bytes)))
@settings(deadline=None, max_examples=500)
def test_utf8_is_pythons(data: bytes) -> None:
    assert utf8(data) == strictly(data)


def test_arrays_nest_as_deeply_as_a_schema_may() -> None:
    kind: Any = "long"
    depth = SCHEMA_DEPTH - 1
    assert depth <= NESTED
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    deep = b"\x02" * depth + long(5) + b"\x00" * depth
    columns, faults = read({"x": kind, "y": "long"}, Wanted(integers=("y",)), deep + long(6), deep, deep + long(7))
    assert faults == ["", FAULTS[SHORT], ""]
    assert columns.integers.tolist() == [[6], [7]]


def test_tables_nest_and_a_failed_message_leaves_no_row_in_any() -> None:
    leaf = Wanted(integers=("x",), texts=("s",))
    wanted = Wanted(tables={"t": Wanted(numbers=("v",), tables={"u": leaf}), "w.u": leaf})
    inner = record("inner", x="long", s="string")
    outer = record("outer", v="float", u={"type": "array", "items": inner})
    schema = parsed(
        record("r", t={"type": "array", "items": outer}, w=record("w", u={"type": "array", "items": "inner"}))
    )
    values = [
        {
            "t": [{"v": i + j, "u": [{"x": k, "s": f"{i}{j}{k}"} for k in range(j)]} for j in range(i)],
            "w": {"u": [{"x": -i, "s": ""}] * i},
        }
        for i in range(5)
    ]
    good = [encode(schema, value) for value in values]
    messages = [part for one in good for part in (one, one[:-1], one + b"\x00")]
    columns, status = run_project(schema, wanted, messages)
    assert [row for row, code in enumerate(status) if code == 0] == [0, 3, 6, 9, 12]
    assert contents(columns) == contents(gather(values, wanted))


@pytest.mark.parametrize("rows", [48 - 1, 48, 48 + 1, 10_000])
def test_a_long_history_makes_its_own_room(rows: int) -> None:
    wanted = Wanted(integers=("id",), tables={"t": Wanted(integers=("x",), texts=("s",))})
    fields = {"id": "long", "t": {"type": "array", "items": record("row", x="long", s="string")}}
    history = long(rows) + b"".join(long(x) + long(2) + b"hi" for x in range(rows)) + b"\x00"
    short = long(1) + long(1) + long(-1) + long(0) + b"\x00"
    columns, faults = read(fields, wanted, short, long(2) + history, long(3) + history[:-1], long(4) + history, short)
    assert faults == ["", "", FAULTS[SHORT], "", ""]
    assert columns.integer("id").tolist() == [1, 2, 4, 1]
    offsets, children = columns.table("t")
    assert offsets.tolist() == [0, 1, rows + 1, 2 * rows + 1, 2 * rows + 2]
    assert children.integer("x").tolist() == [-1, *range(rows), *range(rows), -1]
    assert children.text("s").equals("hi").tolist() == [False, *[True] * (2 * rows), False]


def test_no_messages() -> None:
    columns, status = run_project(parsed(record("r", x="long")), Wanted(integers=("x",)), [])
    assert (len(columns), status) == (0, [])
