import gc
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.schemas.columns import Wanted
from skimstream.schemas.container import MAGIC
from skimstream.schemas.decode import Choice, Decoder
from skimstream.schemas.errors import REASONS, DecodeError
from skimstream.schemas.gather import gather
from skimstream.schemas.limits import ITEMS, MESSAGE_BYTES
from skimstream.schemas.reader import read_file
from skimstream.schemas.registry import Registry

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "event",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "x", "type": ["null", "double"]},
        {"name": "who", "type": "string"},
    ],
}
WANTED = Wanted(numbers=("x",), integers=("id",), texts=("who",))


def container(record: dict[str, Any], codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(SCHEMA), [record], codec=codec)
    return out.getvalue()


def plain(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), record)
    return out.getvalue()


def test_good_and_bad_messages_are_parted_and_keep_their_places() -> None:
    good = [{"id": i, "x": i / 2 if i % 2 else None, "who": f"u{i}"} for i in range(4)]
    messages = [
        container(good[0]),
        None,
        container(good[1], "snappy"),
        b"rubbish",
        container(good[2]),
        container(good[3]),
    ]
    decoded = Decoder(WANTED).decode(messages)
    assert decoded.index.tolist() == [0, 2, 4, 5]
    assert decoded.columns.integer("id").tolist() == [0, 1, 2, 3]
    assert [(one.index, one.error.reason) for one in decoded.rejected] == [(1, "decode"), (3, "decode")]


def test_a_value_of_the_wrong_kind_rejects_its_own_message_only() -> None:
    wanted = Wanted(numbers=("who",), integers=("id",))
    text = {**SCHEMA, "fields": [*SCHEMA["fields"][:2], {"name": "who", "type": ["string", "double"]}]}
    out = [io.BytesIO() for _ in range(3)]
    for stream, who in zip(out, (1.0, "text", 2.0), strict=True):
        fastavro.writer(stream, fastavro.parse_schema(text), [{"id": 1, "x": None, "who": who}])
    decoded = Decoder(wanted).decode([stream.getvalue() for stream in out])
    assert decoded.index.tolist() == [0, 2]
    assert [(one.index, one.error.reason) for one in decoded.rejected] == [(1, "invalid")]


def test_a_pinned_schema_reads_bare_records_and_nothing_left_over() -> None:
    record = {"id": 3, "x": 0.5, "who": "me"}
    decoded = Decoder(WANTED, "plain", SCHEMA).decode([plain(record), plain(record) + b"\x00", plain(record)[:-1], b""])
    assert decoded.index.tolist() == [0]
    assert [one.error.reason for one in decoded.rejected] == ["decode"] * 3


def test_a_message_beyond_the_budget_is_refused_unread() -> None:
    decoded = Decoder(WANTED).decode([bytes(MESSAGE_BYTES + 1)])
    assert decoded.rejected[0].error.reason == "too_large"


def test_a_framing_needs_exactly_its_schema() -> None:
    with pytest.raises(ValueError, match="schema"):
        Decoder(WANTED, "plain")
    with pytest.raises(ValueError, match="schema"):
        Decoder(WANTED, "container", SCHEMA)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_messages_are_rejected_with_a_reason_or_decoded(data: st.DataObject) -> None:
    message = bytearray(container({"id": 3, "x": 0.5, "who": "me"}))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    decoded = Decoder(WANTED).decode([bytes(message)])
    assert len(decoded.columns) + len(decoded.rejected) == 1
    assert all(one.error.reason in REASONS for one in decoded.rejected)


def test_a_file_of_many_records_is_read_block_by_block() -> None:
    out = io.BytesIO()
    records = [{"id": i, "x": 1.0, "who": "y" * 500} for i in range(200)]
    fastavro.writer(out, fastavro.parse_schema(SCHEMA), records, codec="deflate")
    blocks = list(read_file(out.getvalue(), WANTED))
    assert len(blocks) > 1
    assert np.concatenate([block.integer("id") for block in blocks]).tolist() == list(range(200))
    with pytest.raises(DecodeError):
        list(read_file(out.getvalue()[:-1], WANTED))


ALERT = Wanted(
    numbers=("candidate.jd", "candidate.magpsf"),
    integers=("candidate.candid",),
    texts=("objectId", "candidate.isdiffpos"),
    tables={"prv_candidates": Wanted(numbers=("jd", "magpsf"))},
)


@needs_shared
@pytest.mark.parametrize("archive", sorted(path.name for path in (SHARED / "data" / "ztf").glob("*.tar.gz")))
def test_real_alerts_equal_fastavros_own_reading(archive: str) -> None:
    with tarfile.open(SHARED / "data" / "ztf" / archive) as tar:
        messages = [tar.extractfile(m).read() for m in tar if m.isfile()]  # type: ignore[union-attr]
    decoded = Decoder(ALERT).decode(messages)
    assert not decoded.rejected
    offsets, history = decoded.columns.table("prv_candidates")
    for row, message in enumerate(messages):
        (record,) = fastavro.reader(io.BytesIO(message))
        assert isinstance(record, dict)
        candidate: Any = record["candidate"]
        assert decoded.columns.integer("candidate.candid")[row] == candidate["candid"]
        assert decoded.columns.text("objectId").at(row) == record.get("objectId")
        assert decoded.columns.number("candidate.jd")[row] == candidate["jd"]
        assert decoded.columns.text("candidate.isdiffpos").at(row) == str(candidate["isdiffpos"])
        rows: Any = record.get("prv_candidates") or []
        assert offsets[row + 1] - offsets[row] == len(rows)
        magnitudes = [np.nan if one.get("magpsf") is None else one["magpsf"] for one in rows]
        np.testing.assert_array_equal(history.number("magpsf")[offsets[row] : offsets[row + 1]], magnitudes)


@needs_shared
def test_real_poison_is_rejected_and_its_neighbours_come_through() -> None:
    poison = sorted((SHARED / "data" / "poison").glob("*.avro"))
    good = container({"id": 1, "x": None, "who": ""})
    messages = [m for path in poison for m in (good, path.read_bytes())]
    decoded = Decoder(WANTED).decode(messages)
    assert decoded.index.tolist() == list(range(0, len(messages), 2))
    assert {one.error.reason for one in decoded.rejected} == {"decode", "schema_refused"}


@needs_shared
def test_auto_tells_the_framings_of_real_messages_apart() -> None:
    fink = SHARED / "data" / "fink" / "kafka_framing"
    wire = SHARED / "data" / "lsst" / "wire"
    wanted = Wanted(
        numbers=("candidate.jd", "diaSource.midpointMjdTai", "x"),
        integers=("candid", "diaSource.diaSourceId"),
        texts=("who",),
    )
    messages: list[tuple[bytes, bytes | None]] = [
        (path.read_bytes(), path.with_name(path.name.replace("value.bin", "key.json")).read_bytes())
        for path in sorted(fink.glob("*.value.bin"))
    ]
    messages += [(path.read_bytes(), None) for path in sorted(wire.glob("*.avro"))]
    messages += [
        (container({"id": 1, "x": 0.5, "who": "me"}, "deflate"), b"key"),
        (b'{"x": 1.5, "who": "web"}', b'{"k": 1}'),
    ]
    messages += [(b"rubbish", None), (container({"id": 2, "x": None, "who": "you"}), None)]
    registry = Registry(folder=SHARED / "data" / "lsst" / "schemas")
    decoded = Decoder(wanted, "auto", registry=registry).decode([v for v, _ in messages], [k for _, k in messages])
    assert [(one.index, one.error.reason) for one in decoded.rejected] == [(len(messages) - 2, "schema_unknown")]
    assert decoded.index.tolist() == [i for i in range(len(messages)) if i != len(messages) - 2]
    columns = decoded.columns
    assert columns.integer("candid")[:2].tolist() == [
        int(path.name.partition(".")[0]) for path in sorted(fink.glob("*.bin"))
    ]
    assert (columns.number("candidate.jd")[:2] > 2_458_000).all()
    assert not columns.null("diaSource.diaSourceId")[2:6].any()
    assert np.isfinite(columns.number("diaSource.midpointMjdTai")[2:6]).all()
    assert [columns.text("who").at(i) for i in (6, 7, 8)] == ["me", "web", "you"]
    assert columns.number("x")[6:8].tolist() == [0.5, 1.5]


@needs_shared
@pytest.mark.parametrize("archive", ["lsst/elasticc_v0_9_5607.tar.gz", "lsst/fink_broker_rubin_raw_60.tar.gz"])
def test_real_lsst_alerts_equal_fastavros_own_reading(archive: str) -> None:
    with tarfile.open(SHARED / "data" / archive) as tar:
        files = [tar.extractfile(member) for member in tar if member.isfile()]
        messages = [file.read() for file in files if file is not None][:600]
    children = Wanted(numbers=("midPointTai", "psFlux", "midpointMjdTai", "psfFlux"), integers=("diaSourceId",))
    source = Wanted(
        numbers=("diaSource.psFlux", "diaSource.psfFlux", "diaSource.midPointTai", "diaSource.midpointMjdTai"),
        integers=("alertId", "diaSource.diaSourceId", "diaObject.diaObjectId"),
        texts=("diaSource.filterName", "diaSource.band"),
        tables={"prvDiaSources": children},
    )
    decoder = Decoder(source)
    decoded = decoder.decode(messages)
    assert not decoded.rejected
    assert decoder.fallbacks == 0
    records: Any = [next(iter(fastavro.reader(io.BytesIO(message)))) for message in messages]
    expected = gather(records, source)
    np.testing.assert_array_equal(decoded.columns.numbers, expected.numbers)
    np.testing.assert_array_equal(decoded.columns.integers, expected.integers)
    np.testing.assert_array_equal(decoded.columns.integer_null, expected.integer_null)
    for path in source.texts:
        texts = [decoded.columns.text(path).at(i) for i in range(len(messages))]
        assert texts == [expected.text(path).at(i) for i in range(len(messages))]
    np.testing.assert_array_equal(decoded.columns.table("prvDiaSources")[0], expected.table("prvDiaSources")[0])
    np.testing.assert_array_equal(
        decoded.columns.table("prvDiaSources")[1].numbers, expected.table("prvDiaSources")[1].numbers
    )


@pytest.mark.parametrize(("placed", "small"), [(True, 0), (True, 1 << 20), (False, 0)])
def test_many_codecs_keep_their_order_where_messages_lie_or_joined(
    monkeypatch: pytest.MonkeyPatch, placed: bool, small: int
) -> None:
    from skimstream.schemas import window

    assert window.PLACED
    monkeypatch.setattr(window, "PLACED", placed)
    monkeypatch.setattr(window, "SMALL", small)
    messages, expected = [], []
    for i in range(200):
        codec = ("null", "deflate", "snappy")[i % 3]
        messages.append(container({"id": i, "x": float(i), "who": f"user {i}"}, codec))
        expected.append((i, float(i), f"user {i}"))
    decoded = Decoder(WANTED).decode(messages)
    found = zip(
        decoded.columns.integer("id").tolist(),
        decoded.columns.number("x").tolist(),
        [decoded.columns.text("who").at(i) for i in range(200)],
        strict=True,
    )
    assert list(found) == expected
    assert decoded.index.tolist() == list(range(200))


def test_what_no_plan_covers_is_read_by_fastavro_once_said(caplog: pytest.LogCaptureFixture) -> None:
    schema = {**SCHEMA, "fields": [*SCHEMA["fields"][:2], {"name": "who", "type": "int"}]}
    decoder = Decoder(WANTED, "plain", schema)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"id": 1, "x": 0.5, "who": 7})
    for _ in range(3):
        decoded = decoder.decode([out.getvalue()] * 2)
    assert [decoded.columns.text("who").at(i) for i in range(2)] == ["7", "7"]
    assert decoder.fallbacks == 1
    assert len(caplog.records) == 1


def test_schemas_are_json_objects_in_the_package() -> None:
    from importlib.resources import files

    import skimstream.schemas

    folder = files(skimstream.schemas) / "avsc"
    found = [json.loads(file.read_text()) for name in folder.iterdir() for file in name.iterdir()]
    assert {schema["name"] for schema in found} >= {"behaviour_event", "ztf_like_alert"}


@pytest.mark.parametrize("split", [False, True])
def test_an_array_beyond_the_budget_is_refused_however_it_is_cut_into_blocks(split: bool) -> None:
    rows = {"type": "array", "items": {"type": "record", "name": "row", "fields": [{"name": "x", "type": "int"}]}}
    schema = {"type": "record", "name": "r", "fields": [{"name": "rows", "type": rows}]}
    decoder = Decoder(Wanted(tables={"rows": Wanted(numbers=("x",))}), "plain", schema)

    def message(items: int) -> bytes:
        out = io.BytesIO()
        for size in [items // 2, items - items // 2] if split else [items]:
            fastavro.schemaless_writer(out, "long", size)
            out.write(bytes(size))
        return out.getvalue() + b"\x00"

    decoded = decoder.decode([message(5), message(ITEMS + 1), message(ITEMS)])
    assert np.diff(decoded.columns.table("rows")[0]).tolist() == [5, ITEMS]
    assert [(one.index, one.error.reason) for one in decoded.rejected] == [(1, "decode")]


@pytest.mark.parametrize(
    ("framing", "message"),
    [
        ("container", b"no container" * 9),
        ("container", MAGIC + b"\x02\x16avro.schema\x02{\x00" + b"s" * 16),
        ("auto", b"neither this nor that" * 9),
        ("json", b'{"a": ' * 9),
        ("bson", b"x" * 99),
        ("key", b"no schema in the key" * 9),
    ],
)
def test_a_rejection_lets_go_of_its_batch_at_once(framing: Choice, message: bytes) -> None:
    """Else all messages of every batch with a bad one stay in memory until the garbage collector comes by."""
    decoder = Decoder(Wanted(numbers=("a",)), framing)
    messages = [message, message[:-1]]
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(message)
        for _ in range(5):
            decoded = decoder.decode(messages)
            assert len(decoded.rejected) == 2
            assert all(one.error.__traceback__ is None for one in decoded.rejected)
        del decoded
        assert sys.getrefcount(message) == before
    finally:
        gc.enable()


def test_so_does_a_rejection_of_what_fastavro_would_have_read() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "double"]}]}
    decoder = Decoder(Wanted(texts=("a",)), "plain", schema)  # a text is wanted where a number stands
    message = b"\x04" * 99
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(message)
        decoded = decoder.decode([message] * 3)
        assert (decoder.fallbacks, len(decoded.rejected)) == (1, 3)
        del decoded
        assert sys.getrefcount(message) == before
    finally:
        gc.enable()
