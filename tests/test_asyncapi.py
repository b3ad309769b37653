"""docs/asyncapi.yaml says what the code does with its topics, no more and no less, and is AsyncAPI."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from skimstream.cli.simulate import TRUTH
from skimstream.consumer import internal, label, letter
from skimstream.consumer.address import Address
from skimstream.consumer.alert import VERSION, Announcement, alert_of
from skimstream.consumer.batch import Batch
from skimstream.consumer.join import LABEL
from skimstream.consumer.letter import Letter, Place, Receipt
from skimstream.consumer.rekey import Rekey
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.streams.observation import Observation
from skimstream.producer.simulate.event import Simulated, truth_message
from skimstream.schemas.errors import REASONS, DecodeError

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "asyncapi.yaml"
# From npm's @asyncapi/specs, where `make e2e` could fetch it.
SPECIFICATION = ROOT / "build" / "e2e" / "asyncapi" / "package" / "schemas" / "3.0.0.json"
NAME = re.compile(r"(skim|skimstream)\.[a-z]+")  # of a header of ours

NAME_IN_DOCUMENT = re.compile(r"^ +((?:skim|skimstream)\.[a-z]+):", re.MULTILINE)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Json:
    found: Json = yaml.safe_load(FILE.read_text())
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for one in node.values():
            yield from references(one)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)


def resolved(document: Json, reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def schema_of(document: Json, name: str) -> Json:
    """What must be and what may be in headers or a payload: all of `allOf` as one."""
    schema = document["components"]["schemas"][name]
    parts = [resolved(document, one["$ref"]) if "$ref" in one else one for one in schema.get("allOf", [schema])]
    return {
        "required": {key for one in parts for key in one.get("required", [])},
        "properties": {key for one in parts for key in one["properties"]},
        "patterns": [pattern for one in parts for pattern in one.get("patternProperties", {})],
    }


def test_everything_it_refers_to_is_there(document: Json) -> None:
    for reference in references(document):
        if reference.startswith("#/"):
            assert resolved(document, reference) is not None
        else:
            assert json.loads((FILE.parent / reference).read_text())["type"] == "record"
    used = set(references(document))
    for kind, ones in document["components"].items():
        for name in ones:
            assert f"#/components/{kind}/{name}" in used, f"nothing uses {kind}/{name}"
    for name, operation in document["operations"].items():
        channel = operation["channel"]["$ref"]
        for message in operation.get("messages", []):
            assert message["$ref"].startswith(channel + "/messages/"), name


def test_the_topics_are_those_of_the_code(document: Json) -> None:
    assert {one["address"] for one in document["channels"].values()} == {
        "{topic}",
        "{topic}" + letter.SUFFIX,
        "{topic}" + internal.SUFFIX,
        "{topic}" + label.SUFFIX,
        "{topic}" + TRUTH,
        "skim.{stream}.anomalies",
    }
    assert 'f"skim.{settings.stream}.anomalies"' in (ROOT / "consumer" / "watch_settings.py").read_text()


def test_every_header_of_ours_is_described(document: Json) -> None:
    headers = {
        node.value
        for room in ("consumer", "producer", "cli")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value)
    }
    assert headers == set(NAME_IN_DOCUMENT.findall(FILE.read_text()))


def test_letters_and_receipts(document: Json) -> None:
    place, error = Place("alerts", 3, 17, 1_790_000_000_000), DecodeError("invalid", "why")
    said = Letter(place, None, error.reason, error.detail, b"k", (("trace", b"1"),), "704", 9).headers()
    schema, names = schema_of(document, "letter"), {name for name, _ in said}
    own = {name for name in names if any(re.match(pattern, name) for pattern in schema["patterns"])}
    assert own == {"original.trace"}
    assert names - own == schema["properties"]
    assert schema["properties"] - schema["required"] == {"omitted"}
    assert {name for name, _ in Receipt(place, "alerts").headers()} == schema_of(document, "receipt")["properties"]
    assert document["components"]["schemas"]["reason"]["enum"] == list(REASONS)
    restored = dict(Letter(place, b"v", "invalid", "why").restored())
    assert set(restored) == schema_of(document, "again")["properties"]


def test_anomalies_copies_and_labels(document: Json) -> None:
    messages = document["components"]["messages"]
    said = Announcement("t", alert_of("a/0/1", "ztf", "ZTF1", 0, {}, {})).headers()
    assert {name for name, _ in said} == set(messages["anomaly"]["headers"]["required"])
    assert messages["anomaly"]["payload"]["schema"]["$ref"].endswith(f"anomaly/{VERSION}.avsc")

    key = json.dumps({"type": "record", "name": "r", "fields": []}).encode()
    batch = Batch(Address("alerts", 0), 0, 1, [0], [b"v"], [0], [key], [None])
    copied = Rekey._headers(cast(Any, None), batch, 0)  # noqa: SLF001 - the copy's headers, without a broker
    assert {name for name, _ in copied} == set(messages["copy"]["headers"]["properties"])
    assert set(messages["knownLabel"]["headers"]["properties"]) == {LABEL}
    assert schema_of(document, "label")["properties"] == set(label.FIELDS)


def test_what_is_simulated(document: Json) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schemas = document["components"]["schemas"]
    told = json.loads(truth_message(Simulated({}, "ZTF1", "17", 1.5, "flare")))
    jsonschema.validate(told, schemas["truth"])
    jsonschema.validate(told, schemas["label"])  # truths are labels, too
    assert set(told) == schema_of(document, "truth")["properties"]
    for stream, key in ((Behaviour(), "user_id"), (Observation(), "obs_id")):
        message = document["components"]["messages"][stream.name]
        schema = json.loads((FILE.parent / message["payload"]["schema"]["$ref"]).read_text())
        assert set(stream.wanted.paths) <= {field["name"] for field in schema["fields"]}
        assert message["bindings"]["kafka"]["key"]["description"] == key == stream.key_field
        assert stream.framing == "plain"


@pytest.mark.parametrize("value", [0, 1, True, False, "0", "1", "true", "false", 2, "yes", 0.5, None, [1]])
def test_labels_are_those_that_are_read(document: Json, value: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    record = {"event_id": "e", "label": value}
    described = jsonschema.Draft7Validator(document["components"]["schemas"]["label"]).is_valid(record)
    try:
        label.label_of(record)
    except DecodeError:
        assert not described
    else:
        assert described


@pytest.mark.skipif(
    not SPECIFICATION.exists(), reason="needs @asyncapi/specs in build/e2e: make e2e, where npm is there"
)
def test_it_is_asyncapi(document: Json) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    problems = jsonschema.Draft7Validator(json.loads(SPECIFICATION.read_text())).iter_errors(document)
    assert [f"{'/'.join(map(str, one.path))}: {one.message[:200]}" for one in problems] == []
