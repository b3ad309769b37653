"""JSON lines as files of events."""

import json

import pytest

from skimstream.cli.jsonfile import is_json, json_records, read_json
from skimstream.schemas.columns import Wanted
from skimstream.schemas.errors import DecodeError


def test_lines_are_records() -> None:
    data = b'{"a": {"b": 1}, "c": "x"}\n\n{"c": null}\r\n'
    (columns,) = read_json(data, Wanted(numbers=("a.b",), texts=("c",)))
    assert (columns.null("a.b").tolist(), columns.text("c").at(0), len(columns)) == ([False, True], "x", 2)
    many = "\n".join(json.dumps({"c": str(i)}) for i in range(10_001)).encode()
    assert [len(one) for one in read_json(many, Wanted(texts=("c",)))] == [10_000, 1]


def test_a_line_that_is_none_is_named() -> None:
    for line in (b"[1]", b"{", b'{"a": 1, "a": 2}'):
        with pytest.raises(DecodeError, match="line 3"):
            list(json_records(b'{"a": 1}\n\n' + line))


def test_by_name() -> None:
    assert [is_json(name) for name in ("a.json", "b.JSONL", "c.ndjson", "d.avro")] == [True, True, True, False]
