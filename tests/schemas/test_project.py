"""Messages lie among memory that isn't theirs: nothing of it is read, and no row shows what was there before."""

import ctypes
import io
import json
import mmap
import subprocess
import sys
from typing import Any

import fastavro
import numpy as np
import pytest

from skimstream.schemas.columns import Columns, Wanted
from skimstream.schemas.plan import compile_plan
from skimstream.schemas.project import project
from skimstream.schemas.reader import parse_schema

ROW = {"type": "record", "name": "row", "fields": [{"name": "v", "type": ["null", "float"]}]}
FIELDS = {
    "x": ["null", "double"],
    "n": ["long", "null"],
    "unwanted": "bytes",
    "colour": {"type": "enum", "name": "colour", "symbols": ["red", "green"]},
    "rows": {"type": "array", "items": ROW},
    "who": ["null", "string"],
}
SCHEMA: Any = parse_schema(
    json.dumps(
        {"type": "record", "name": "event", "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()]}
    ).encode()
)
WANTED = Wanted(("x",), ("n",), ("who", "colour"), {"rows": Wanted(("v",))})
TEXTS = (
    "",
    "a",
    "seven c",
    "eight ch",
    "nine char",
    "fifteen charact",
    "sixteen characte",
    "a" * 40,
    "é",
    "aaaaaaaé",
    "a€",
)


def message(**values: Any) -> bytes:
    record = {"x": 0.5, "n": 1 << 40, "unwanted": bytes(9), "colour": "green", "rows": [{"v": 1.5}] * 3, "who": "me"}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, record | values)
    return out.getvalue()


def read_at_the_edges(page: int = mmap.PAGESIZE) -> None:
    """Read every message, and every cut of it, at the end and at the start of a page between two that kill."""
    memory = mmap.mmap(-1, 3 * page)
    data = np.frombuffer(memory, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for forbidden in (0, 2 * page):
        assert protect(ctypes.c_void_p(data.ctypes.data + forbidden), ctypes.c_size_t(page), 0) == 0
    plan = compile_plan(SCHEMA, WANTED)
    for whole in [message(who=text) for text in TEXTS]:
        for size in range(len(whole) + 1):
            for start in (page, 2 * page - size):
                data[start : start + size] = np.frombuffer(whole[:size], np.uint8)
                _, status = project(plan, data, np.array([start]), np.array([start + size]))
                assert (status[0] == 0) == (size == len(whole))


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to forbid pages")
def test_no_byte_outside_of_a_message_is_read() -> None:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def decoded(messages: list[bytes]) -> Columns:
    ends = np.cumsum([len(one) for one in messages])
    starts = ends - np.array([len(one) for one in messages])
    columns, status = project(
        compile_plan(SCHEMA, WANTED), np.frombuffer(b"".join(messages), np.uint8), starts.astype(np.int64), ends
    )
    assert status.tolist().count(0) == len(columns)
    return columns


def test_a_null_after_a_failed_message_is_a_null() -> None:
    full = message()
    empty = message(x=None, n=None, who=None, rows=[])
    row = message(who=None, rows=[{"v": None}])
    columns = decoded([full[:-1], empty, full + b"\x00", full[:-1], row, full[:-1]])
    assert columns.null("x").tolist() == [True, False]
    assert np.isnan(columns.number("x")[0])
    assert columns.integer("n").tolist() == [0, 1 << 40]
    assert columns.null("n").tolist() == [True, False]
    assert [columns.text("who").at(i) for i in range(2)] == [None, None]
    assert [columns.text("colour").at(i) for i in range(2)] == ["green", "green"]
    offsets, rows = columns.table("rows")
    assert offsets.tolist() == [0, 0, 1]
    assert rows.null("v").tolist() == [True]
    assert np.isnan(rows.number("v")).all()


if __name__ == "__main__":
    read_at_the_edges()
