import io
import json
import zlib
from typing import Any

import cramjam
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skimstream.schemas.container import only_block, read_block, read_header, read_long
from skimstream.schemas.errors import DecodeError
from skimstream.schemas.limits import BLOCK_BYTES

SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}, {"name": "s", "type": "string"}]}


def file_of(records: list[dict[str, Any]], codec: str = "null", **options: Any) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(SCHEMA), records, codec=codec, **options)
    return out.getvalue()


def bare(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), record)
    return out.getvalue()


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy"])
def test_reads_what_fastavro_writes(codec: str) -> None:
    record = {"x": -5, "s": "å" * 1000}
    message = file_of([record], codec)
    header = read_header(message)
    assert json.loads(header.schema)["name"] == "r"
    assert header.codec == codec
    assert only_block(message, header) == bare(record)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_longs_are_what_fastavro_writes(value: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    assert read_long(out.getvalue(), 0) == (value, len(out.getvalue()))


def test_every_truncation_is_refused() -> None:
    message = file_of([{"x": 1, "s": "abc"}])
    for end in range(len(message)):
        with pytest.raises(DecodeError):
            only_block(message[:end], read_header(message[:end]))


@pytest.mark.parametrize(
    ("records", "extra"),
    [(0, b""), (2, b""), (1, b"x"), (1, b"\x00")],
    ids=["none", "two", "trailing", "more trailing"],
)
def test_a_message_holds_exactly_one_record(records: int, extra: bytes) -> None:
    message = file_of([{"x": 1, "s": ""}] * records) + extra
    with pytest.raises(DecodeError):
        only_block(message, read_header(message))


def test_several_records_in_several_blocks_can_be_walked() -> None:
    data = file_of([{"x": i, "s": "y" * 30_000} for i in range(5)])
    header = read_header(data)
    at, records = header.end, 0
    while at < len(data):
        block = read_block(data, at, header)
        at, records = block.end, records + block.records
    assert records == 5


def test_a_changed_sync_marker_is_noticed() -> None:
    message = bytearray(file_of([{"x": 1, "s": ""}]))
    message[-1] ^= 1
    with pytest.raises(DecodeError, match="sync"):
        only_block(bytes(message), read_header(bytes(message)))


def container(codec: bytes, block: bytes) -> bytes:
    """A container whose one block says it holds one record in `block`."""

    def text(value: bytes) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, "bytes", value)
        return out.getvalue()

    schema = json.dumps(SCHEMA).encode()
    head = b"Obj\x01\x04" + text(b"avro.schema") + text(schema) + text(b"avro.codec") + text(codec) + b"\x00"
    return head + b"s" * 16 + b"\x02" + text(block) + b"s" * 16


def test_a_deflate_bomb_stops_at_the_budget() -> None:
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(bytes(BLOCK_BYTES + 1000)) + deflate.flush()
    assert len(bomb) < 100_000
    message = container(b"deflate", bomb)
    with pytest.raises(DecodeError) as caught:
        only_block(message, read_header(message))
    assert caught.value.reason == "too_large"


def test_zstandard_blocks_are_read() -> None:
    for record in ({"x": 1, "s": ""}, {"x": -5, "s": "å" * 1000}, {"x": 0, "s": "a" * 3_000_000}):
        message = container(b"zstandard", bytes(cramjam.zstd.compress(bare(record))))
        assert only_block(message, read_header(message)) == bare(record)


def test_a_zstandard_bomb_stops_at_the_budget() -> None:
    block = (131072 << 3 | 2).to_bytes(3, "little") + b"a"  # RFC 8878: one byte, repeated 128 Ki times
    bomb = b"\x28\xb5\x2f\xfd\x00\x58" + block * 1_000_000
    assert len(bomb) < 5_000_000 < 100_000_000_000 < 131072 * 1_000_000
    message = container(b"zstandard", bomb)
    with pytest.raises(DecodeError) as caught:
        only_block(message, read_header(message))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("codec", [b"deflate", b"zstandard"])
def test_a_compressed_block_that_is_cut_short_is_refused(codec: bytes) -> None:
    plain = bare({"x": 1, "s": "abc" * 50})
    deflate = zlib.compressobj(wbits=-15)
    whole = deflate.compress(plain) + deflate.flush() if codec == b"deflate" else bytes(cramjam.zstd.compress(plain))
    for end in range(len(whole)):
        message = container(codec, whole[:end])
        with pytest.raises(DecodeError):
            only_block(message, read_header(message))


def test_a_snappy_block_that_declares_gigabytes_is_not_inflated() -> None:
    message = container(b"snappy", b"\xff\xff\xff\xff\x0f" + bytes(20))
    with pytest.raises(DecodeError) as caught:
        only_block(message, read_header(message))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("codec", [b"deflate", b"snappy", b"zstandard", b"\xff\xfe"])
def test_rubbish_in_a_compressed_block_is_refused(codec: bytes) -> None:
    message = container(codec, b"\x05rubbish rubbish")
    with pytest.raises(DecodeError):
        only_block(message, read_header(message))


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_header(data: bytes) -> None:
    for message in (data, b"Obj\x01" + data):
        try:
            header = read_header(message)
            only_block(message, header)
        except DecodeError:
            continue


@pytest.mark.parametrize("number", [b"\xff" * 9 + b"\x02", b"\xff" * 9 + b"\x7f", b"\x80" * 10 + b"\x00", b"\xff" * 11])
def test_no_number_has_more_than_64_bits(number: bytes) -> None:
    assert read_long(b"\xff" * 9 + b"\x01", 0) == (-(1 << 63), 10)
    with pytest.raises(DecodeError, match="64 bits"):
        read_long(number, 0)
