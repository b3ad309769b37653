"""Real messages of all framings are told apart and taken out of them whole; nothing else gets through."""

import builtins
import io
import json
import tarfile
import tracemalloc
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import bson
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skimstream.schemas.errors import REASONS, DecodeError
from skimstream.schemas.framing import Avro, Framing, detect, is_schema, unframe
from skimstream.schemas.limits import BLOCK_BYTES, BSON_ZEROS, MESSAGE_BYTES, SCHEMA_BYTES, SCHEMA_DEPTH, VALUES
from skimstream.schemas.reader import parse_schema, read_record
from skimstream.schemas.registry import Registry

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
LSST = SHARED / "data/lsst"
SCHEMA: dict[str, Any] = {"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}]}
KEY = json.dumps(SCHEMA).encode()


def nobody_knows(schema_id: int) -> bool:
    return False


def container(record: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(SCHEMA), [record])
    return out.getvalue()


def compressed(document: Mapping[str, Any]) -> bytes:
    return zlib.compress(bson.encode(document))


def from_json(value: bytes) -> Mapping[str, Any]:
    record = unframe("json", value, None, None, None)
    assert not isinstance(record, Avro)
    return record


def reason_of(framing: Framing, value: bytes, key: bytes | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        unframe(framing, value, key, None, None)
    assert caught.value.reason in REASONS
    return caught.value.reason


def read(unframed: Avro | Mapping[str, Any]) -> dict[str, Any]:
    """The record, by fastavro alone; all bytes must be used up."""
    assert isinstance(unframed, Avro)
    parse_schema(unframed.schema)  # within the budgets
    stream = io.BytesIO(unframed.body)
    record = fastavro.schemaless_reader(stream, fastavro.parse_schema(json.loads(unframed.schema)), None)
    assert stream.tell() == len(unframed.body)
    assert isinstance(record, dict)
    return record


# ---- real messages


@needs_shared
@pytest.mark.parametrize("path", sorted(LSST.glob("wire*/id*.avro")), ids=lambda path: path.stem[:18])
def test_rubin_messages(path: Path) -> None:
    schema_id = int(path.name.removeprefix("id").split("_")[0])
    registry, value = Registry(folder=LSST / "schemas"), path.read_bytes()
    if schema_id == 12345:
        with pytest.raises(DecodeError, match="12345") as caught:
            detect(value, None, None, registry.known)
        assert caught.value.reason == "schema_unknown"
        with pytest.raises(DecodeError, match="12345") as caught:
            unframe("confluent", value, None, registry, None)
        assert caught.value.reason == "schema_unknown"
        return
    assert detect(value, None, None, registry.known) == "confluent"
    record = read(unframe("confluent", value, None, registry, None))
    assert record["diaSource"]["diaSourceId"] > 0
    assert -90 <= record["diaSource"]["dec"] <= 90


@needs_shared
def test_all_rubin_ids_are_among_the_samples() -> None:
    ids = {int(path.name.removeprefix("id").split("_")[0]) for path in LSST.glob("wire*/id*.avro")}
    assert ids == {701, 703, 704, 800, 900, 1100, 12345}


@needs_shared
@pytest.mark.parametrize("key", sorted((SHARED / "data/fink/kafka_framing").glob("*.key.json")), ids=lambda p: p.stem)
def test_fink_messages(key: Path) -> None:
    value = key.with_name(key.name.replace(".key.json", ".value.bin")).read_bytes()
    assert detect(value, key.read_bytes(), None, nobody_knows) == "key"
    record = read(unframe("key", value, key.read_bytes(), None, None))
    assert str(record["candid"]) == key.name.split(".")[0]


@needs_shared
def test_ztf_containers_of_all_versions() -> None:
    n = 0
    with tarfile.open(SHARED / "data/ztf/mixed_versions_59.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is None or not member.name.endswith(".avro"):
                continue
            value = file.read()
            assert detect(value, b"ZTF18abcdefg", None, nobody_knows) == "container"
            (expected,) = fastavro.reader(io.BytesIO(value))
            assert repr(read(unframe("container", value, None, None, None))) == repr(expected)  # repr: NaN is NaN
            n += 1
    assert n == 59


# ---- the order of the sniffing


def test_what_a_message_says_of_itself_precedes_its_first_byte() -> None:
    def known(schema_id: int) -> bool:
        return schema_id == 704

    for value in (b"\x00\x00\x00\x02\xc0", b"\x78\x9c", b"{", b"anything", b""):
        assert detect(value, KEY, None, known) == "key"
        assert detect(value, KEY, [("other", b"x"), ("_format", b"json")], known) == "json"
        assert detect(value, None, [("_format", b"AVRO")], known) == "container"
    assert detect(b"Obj\x01", KEY, None, known) == "container"
    assert detect(b"\x00\x00\x00\x02\xc0", None, [], known) == "confluent"
    for level in range(-1, 10):
        assert detect(zlib.compress(b"x", level), b"key", None, known) == "bson"
    assert detect(b"{}", b'{"user": 1}', None, known) == "json"


@pytest.mark.parametrize(
    "value", [b"", b"\x00", b"\x00\x00\x00\x02\xc1", b"\xc0\x02\x00\x00\x00", b"\x78\x9d", b"<voe>"]
)
def test_what_is_none_of_them_has_no_schema(value: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        detect(value, b"key", None, lambda schema_id: schema_id == 704)
    assert caught.value.reason == "schema_unknown"


@pytest.mark.parametrize("name", ["voevent", "circular", "blob", "gcntextnotice", "\udcff"])
def test_other_formats_of_hopskotch_are_named(name: str) -> None:
    with pytest.raises(DecodeError, match="_format") as caught:
        detect(b"{}", None, [("_format", name.encode("utf-8", "surrogateescape"))], nobody_knows)
    assert caught.value.reason == "schema_unknown"


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"ZTF18abcdefg",
        b'"string"',
        b'{"user_id": "u1"}',
        b'{"fields": []}',
        b'{"type": "record", "name": "r", "fields": 5}',
        b'{"type": "record", "fields": [',
        b'{"fields": ' + b"[" * 100_000,
        b'{"type": "enum", "fields": []}',
        KEY + b" " * SCHEMA_BYTES,
    ],
    ids=range(10),
)
def test_keys_that_are_no_schema(key: bytes) -> None:
    assert not is_schema(key)
    assert detect(b"{}", key, None, nobody_knows) == "json"
    assert reason_of("key", b"\x02", key) == "schema_unknown"


# ---- each framing


def test_set_framings() -> None:
    assert unframe("plain", b"\x0a", None, None, KEY) == Avro(KEY, b"\x0a")
    assert read(unframe("container", container({"x": 5}), None, None, None)) == {"x": 5}
    assert reason_of("plain", b"\x0a") == "schema_unknown"
    assert reason_of("confluent", b"\x00\x00\x00\x02\xc0") == "schema_unknown"
    assert reason_of("confluent", b"\x01\x00\x00\x02\xc0") == "decode"
    assert reason_of("key", b"\x0a") == "schema_unknown"
    for framing in ("container", "confluent", "key", "plain", "bson", "json"):
        assert reason_of(framing, b"\x00" * (MESSAGE_BYTES + 1)) == "too_large"


def test_json_and_its_numbers() -> None:
    value = b'{"id": 9007199254740993, "low": -9223372036854775808, "x": 1.5, "n": NaN, "i": -Infinity}'
    record = from_json(value)
    assert record["id"] == 9007199254740993  # would be ..92 as a float
    assert record["low"] == -(1 << 63)
    assert record["n"] != record["n"]
    assert record["i"] == -float("inf")
    assert from_json(b'{"s": "\\ud83d\\ude00"}') == {"s": "😀"}
    assert from_json(b'{"x": ' + b"9" * 400 + b"}") == {"x": float("inf")}
    assert from_json(b'{"x": ' + b"9" * 30 + b"}") == {"x": 1e30}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "decode"),
        (b"{", "decode"),
        (b"[1]", "invalid"),
        (b"null", "invalid"),
        (b'{"a": 1}x', "decode"),
        (b'{"a": 1, "a": 2}', "decode"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "decode"),
        (b'{"a": "\xff"}', "decode"),
        (b'{"a": "\\ud800"}', "decode"),
        (b'{"\\uDFFF": 1}', "decode"),
        ('{"a": 1}'.encode("utf-16-le"), "decode"),
        (b'\xef\xbb\xbf{"a": 1}', "decode"),
        (b'{"a": ' * 100_000, "decode"),
        (b'{"a":' + b"[" * 100_000, "decode"),
        (b'{"a":' + b"[" * VALUES, "too_large"),
        (b'{"a":[' + b"0," * VALUES + b"0]}", "too_large"),
        (b'{"a":[' + b"{}," * (VALUES // 2) + b"0]}", "too_large"),
        (b'{"a":' * SCHEMA_DEPTH + b"{}" + b"}" * SCHEMA_DEPTH, "decode"),
        (b'{"a":' + b"[" * SCHEMA_DEPTH + b"]" * SCHEMA_DEPTH + b"}", "decode"),
        (b'{"a": 1' + b"0" * (MESSAGE_BYTES - 9) + b"}", None),
    ],
    ids=range(20),
)
def test_json_that_is_none(value: bytes, reason: str | None) -> None:
    if reason is None:
        assert from_json(value) == {"a": float("inf")}
    else:
        assert reason_of("json", value) == reason


def test_a_record_of_very_many_values_is_read() -> None:
    many = [{"id": i, "x": i / 7, "s": "text, with [commas]"} for i in range(VALUES // 8)]
    assert from_json(json.dumps({"rows": many}).encode()) == {"rows": many}
    assert unframe("bson", compressed({"rows": many}), None, None, None) == {"rows": many}


def test_json_may_nest_as_deep_as_a_schema() -> None:
    depth = SCHEMA_DEPTH - 1
    from_json(b'{"a":' * depth + b"{}" + b"}" * depth)


def test_hopskotchs_old_envelope() -> None:
    assert from_json(b'{"format": "json", "content": {"x": 1}}') == {"x": 1}
    assert from_json(b'{"format": "blob", "content": {"x": 1}}') == {"x": 1}  # hop-client's old label for JSON
    for ordinary in ({"format": 1, "content": {}}, {"format": "json"}, {"format": "x", "content": 1, "more": 2}):
        assert from_json(json.dumps(ordinary).encode()) == ordinary
    assert reason_of("json", b'{"format": "voevent", "content": {}}') == "schema_unknown"
    assert reason_of("json", b'{"format": "json", "content": "text"}') == "invalid"


def test_antares_bson() -> None:
    document = {"locus_id": "ANT1", "n": 1 << 60, "ra": 1.5, "alerts": [{"mjd": 60000.5, "gone": None}]}
    value = compressed(document)
    assert detect(value, None, None, nobody_knows) == "bson"
    assert unframe("bson", value, None, None, None) == document


def bson_nested(depth: int) -> bytes:
    head = b"".join((5 + 8 * (depth - i)).to_bytes(4, "little") + b"\x03a\x00" for i in range(depth))
    return head + b"\x05\x00\x00\x00\x00" + bytes(depth)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "decode"),
        (b"\x78\x9c rubbish", "decode"),
        (compressed({"a": 1})[:-1], "decode"),
        (compressed({"a": 1}) + b"x", "decode"),
        (zlib.compress(b""), "decode"),
        (zlib.compress(bson.encode({"a": 1})[:-1]), "decode"),
        (zlib.compress(bson.encode({"a": 1}) + b"\x00"), "decode"),
        (zlib.compress(b"\xff\xff\xff\x7f" + bytes(100)), "decode"),
        (zlib.compress(bson_nested(SCHEMA_DEPTH)), "decode"),
        (zlib.compress(bson_nested(50_000)), "decode"),
        (zlib.compress(bson.encode({"a": [None] * BSON_ZEROS})), "too_large"),
        (zlib.compress(bytes(BLOCK_BYTES)), "too_large"),
    ],
    ids=range(12),
)
def test_bson_that_is_none(value: bytes, reason: str) -> None:
    assert reason_of("bson", value) == reason


def test_a_zlib_bomb_takes_no_more_memory_than_the_budget() -> None:
    bomb = zlib.compress(bytes(10 * BLOCK_BYTES), 1)
    tracemalloc.start()
    try:
        assert reason_of("bson", bomb) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 3 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


def test_bson_may_nest_as_deep_as_a_schema() -> None:
    assert unframe("bson", zlib.compress(bson_nested(SCHEMA_DEPTH - 1)), None, None, None)


def test_without_pymongo_a_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "bson":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(DecodeError, match=r"skimstream\[antares\]") as caught:
        unframe("bson", compressed({"a": 1}), None, None, None)
    assert caught.value.reason == "schema_unknown"


# ---- whatever comes

STARTS = st.sampled_from([b"", b"Obj\x01", b"\x00\x00\x00\x02\xc0", b"\x78\x9c", b"{", b'{"a":', container({"x": 1})])
MESSAGES = st.builds(bytes.__add__, STARTS, st.binary(max_size=80)) | st.binary(max_size=80).map(zlib.compress)
KEYS = st.none() | st.binary(max_size=40) | st.just(KEY) | st.builds(KEY.__add__, st.binary(max_size=5))
HEADERS = st.none() | st.lists(st.tuples(st.sampled_from(["_format", "x"]), st.binary(max_size=8)), max_size=2)


@given(MESSAGES, KEYS, HEADERS)
def test_nothing_but_decode_errors(value: bytes, key: bytes | None, headers: list[tuple[str, bytes]] | None) -> None:
    registry = Registry()
    for framing in ("auto", "container", "confluent", "key", "plain", "bson", "json"):
        try:
            chosen: Framing = detect(value, key, headers, registry.known) if framing == "auto" else framing  # type: ignore[assignment]
            one = unframe(chosen, value, key, registry, KEY)
            if isinstance(one, Avro):
                read_record(one.body, parse_schema(one.schema))
        except DecodeError:
            continue


DOCUMENT = bson.encode({"a": [1, {"b": "text"}, 2.5, None, True], "t": bson.Int64(5), "$ref": "c", "$id": 1})


@given(st.integers(0, len(DOCUMENT) - 1), st.integers(0, 255))
def test_damaged_bson_is_read_or_refused(place: int, byte: int) -> None:
    damaged = DOCUMENT[:place] + bytes([byte]) + DOCUMENT[place + 1 :]
    with suppress(DecodeError):
        unframe("bson", zlib.compress(damaged), None, None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=4), st.booleans())
def test_json_comes_out_as_it_went_in(record: dict[str, Any], ascii_only: bool) -> None:
    value = json.dumps(record, ensure_ascii=ascii_only).encode()
    assert detect(value, None, None, nobody_knows) == "json"
    assert from_json(value) == record
