"""Containers and plain records: readable by fastavro, equal every time, strict about what goes in."""

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest

from skimstream.producer.encode import EncodeError, container, plain
from skimstream.producer.schema import SchemaNotFound, WriterSchema, load

POINT = WriterSchema(
    json.dumps(
        {
            "type": "record",
            "name": "point",
            "fields": [
                {"name": "x", "type": "double"},
                {"name": "n", "type": ["null", "int"], "default": None},
                {"name": "name", "type": "string"},
            ],
        }
    )
)
RECORD = {"x": 0.1, "n": None, "name": "größer"}


def test_plain_is_what_fastavro_reads() -> None:
    assert fastavro.schemaless_reader(BytesIO(plain(RECORD, POINT)), POINT.parsed) == RECORD


def test_container_is_a_file_with_one_record_and_its_schema() -> None:
    reader = fastavro.reader(BytesIO(container(RECORD, POINT)))
    assert list(reader) == [RECORD]
    assert reader.codec == "null"
    assert json.loads(reader.metadata["avro.schema"]) == json.loads(POINT.text)


def test_container_is_the_same_every_time_and_for_every_key_order() -> None:
    again = WriterSchema(POINT.text)
    assert container(RECORD, POINT) == container(dict(reversed(RECORD.items())), again)
    assert container(RECORD, POINT).endswith(POINT.sync)


def test_sync_marker_depends_on_the_schema() -> None:
    assert load("ztf_like").sync != load("behaviour").sync


@pytest.mark.parametrize(
    "record",
    [
        {"x": 0.1, "n": 1},  # a field is missing
        RECORD | {"truth": "flare"},  # one too many
        RECORD | {"x": None},
        RECORD | {"n": 2**31},
        RECORD | {"n": 1.5},
        RECORD | {"name": b"bytes"},
        RECORD | {"name": None},
    ],
)
def test_a_record_that_does_not_fit(record: dict[str, Any]) -> None:
    with pytest.raises(EncodeError, match="does not fit the schema point") as caught:
        container(record, POINT)
    assert caught.value.schema == "point"


@pytest.mark.parametrize("name", ["ztf_like", "behaviour"])
def test_the_schema_files_are_documented_and_null_first(name: str) -> None:
    def walk(schema: Any) -> None:
        if isinstance(schema, list):
            assert schema[0] == "null"
            assert len(schema) == 2
            walk(schema[1])
        elif isinstance(schema, dict) and schema["type"] == "array":
            walk(schema["items"])
        elif isinstance(schema, dict):
            assert schema["doc"]
            for field in schema["fields"]:
                assert field["doc"]
                assert not isinstance(field["type"], list) or field["default"] is None
                walk(field["type"])

    schema = json.loads(load(name).text)
    assert schema["namespace"] == "skimstream"
    walk(schema)


def test_an_unknown_schema_is_named() -> None:
    with pytest.raises(SchemaNotFound, match="'ztf_like' version 99") as caught:
        load("ztf_like", 99)
    assert (caught.value.name, caught.value.version) == ("ztf_like", 99)
