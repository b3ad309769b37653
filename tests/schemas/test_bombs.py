"""Messages made to hurt: small bytes that ask for much memory, time or depth. Each is refused for the right reason.

The bytes are built here and nowhere kept: some of them bring other readers down. `benchmarks/bombs.py` times them.
"""

import json
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cramjam
import numpy as np
import pytest

from skimstream.schemas import framing as framing_module
from skimstream.schemas.columns import Wanted
from skimstream.schemas.decode import Choice, Decoded, Decoder
from skimstream.schemas.errors import Reason
from skimstream.schemas.limits import BLOCK_BYTES, INFLATED_BYTES, ITEMS, MESSAGE_BYTES, SCHEMA_BYTES, SCHEMA_FIELDS
from skimstream.schemas.reader import parse_schema

SYNC = b"0123456789abcdef"
#: What a bomb may take beside its own bytes; where something is decompressed, its whole budget, twice for a moment.
MEMORY = 32 << 20
INFLATED = MEMORY + BLOCK_BYTES
TABLE = Wanted(integers=("x",))
WANTED = Wanted(numbers=("x",), integers=("id",), texts=("who",), tables={"rows": TABLE, "nested": TABLE})


@dataclass(frozen=True, eq=False)
class Bomb:
    """How to build one, and why it is refused; reason None: it is harmless and read."""

    name: str
    reason: Reason | None
    build: Callable[[], bytes]
    framing: Choice = "container"
    schema: Mapping[str, Any] | None = None
    key: Callable[[], bytes] | None = None
    memory: int = MEMORY


# ---- the pieces


def long(value: int) -> bytes:
    """Avro's zigzag varint."""
    raw, out = (value << 1) ^ (value >> 63), bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*out, raw])


def record(name: str = "r", **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def text(data: bytes) -> bytes:
    return long(len(data)) + data


def header(schema: Any, codec: bytes = b"null", **more: bytes) -> bytes:
    schema = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    entries = {b"avro.schema": schema, b"avro.codec": codec} | {key.encode(): value for key, value in more.items()}
    return b"Obj\x01" + long(len(entries)) + b"".join(text(k) + text(v) for k, v in entries.items()) + b"\x00" + SYNC


def container(schema: Any, body: bytes, codec: bytes = b"null", records: int = 1, size: int | None = None) -> bytes:
    size = len(body) if size is None else size
    return header(schema, codec) + long(records) + long(size) + body + SYNC


def deflated(data: bytes, wbits: int = -15) -> bytes:
    squeeze = zlib.compressobj(9, wbits=wbits)
    return squeeze.compress(data) + squeeze.flush()


def zstandard(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


def bson(body: bytes) -> bytes:
    """A document of raw elements."""
    return struct.pack("<i", len(body) + 5) + body + b"\x00"


def bson_list(item: bytes, count: int) -> bytes:
    return zlib.compress(bson(b"\x04a\x00" + bson(item * count)))


def wide(fields: int) -> dict[str, Any]:
    return record(**{f"f{i}": "int" for i in range(fields)})


def doubling(levels: int) -> Any:
    """Every type holds the one before twice: 2^levels fields, written out."""
    inner: Any = record("t0", x="int")
    for level in range(1, levels):
        inner = record(f"t{level}", a=inner, b=f"t{level - 1}")
    return inner


def within(depth: int, inner: Any = "int") -> Any:
    """A record in a record in a record, `depth` of them."""
    for level in range(depth):
        inner = record(f"w{level}", f=inner)
    return inner


def picture(size: int) -> bytes:
    """The body of a record of `ROWS` without rows, `size` bytes or a few less."""
    return b"\x00" + text(bytes(size - 10))


def lying_zstandard(size: int) -> bytes:
    """A frame whose header promises `size` bytes, and one that it holds (RFC 8878, 3.1.1)."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x09\x00\x00x"


def lists(depth: int) -> Any:
    return array(lists(depth - 1)) if depth else "int"


def nested_bson(depth: int) -> bytes:
    sizes = (5 + 8 * (depth - i) for i in range(depth))
    return (
        b"".join(size.to_bytes(4, "little") + b"\x03a\x00" for size in sizes) + b"\x05\x00\x00\x00\x00" + bytes(depth)
    )


def dumped(schema: Any) -> bytes:
    return json.dumps(schema).encode()


def always(data: bytes) -> Callable[[], bytes]:
    return lambda: data


EVENT = record(x=["null", "double"], id="long", who="string", e={"type": "enum", "name": "e", "symbols": ["A", "B"]})
ROWS = record(rows=array(record("row", x="long")), pic="bytes")
RECURSIVE = record(x="double", next=["null", "r"])
#: What no plan covers, since a map stands where a number is wanted: fastavro reads it.
UNCOVERED = record(x={"type": "map", "values": "int"}, who="string", rows=array(record("row", x="long")))
MAP = record(m={"type": "map", "values": "int"})
GIB = 1 << 30
BYTES = 64 << 20  # four times the budget: enough to tell a bound from none

# ---- the bombs

CONTAINERS = [
    Bomb("a recursive type, 10,000 deep", "schema_refused", lambda: container(RECURSIVE, bytes(8) + b"\x02" * 90_000)),
    Bomb("array of null, 2^31", "schema_refused", lambda: container(record(a=array("null")), long(1 << 31) + b"\x00")),
    Bomb("array of empty records", "schema_refused", lambda: container(record(a=array(record("z"))), long(1 << 31))),
    Bomb(
        "a byte for ten records",
        "schema_refused",
        lambda: container(record(x="string", a=array(within(10))), b"\x00" + long(1_000_000) + bytes(1_000_001)),
    ),
    Bomb(
        "a byte for a thousand empty records",
        "schema_refused",
        lambda: container(
            record(a=array(record("i", x="int", z0=record("z"), **{f"z{i}": "z" for i in range(1, 1000)}))),
            long(1_000_000) + bytes(1_000_001),
        ),
    ),
    Bomb("8,000 fields", "schema_refused", lambda: container(wide(8_000), b"")),
    Bomb("200,000 fields", "schema_refused", lambda: container(b'{"type":"record","fields":[' + b"{}," * 200_000, b"")),
    Bomb("200,000 fields with names", "too_large", lambda: container(wide(200_000), b"")),
    Bomb("as many fields as allowed", None, lambda: container(wide(SCHEMA_FIELDS), bytes(SCHEMA_FIELDS))),
    Bomb("2^30 fields, written out", "schema_refused", lambda: container(doubling(30), b"")),
    Bomb("a schema 30,000 lists deep", "schema_refused", lambda: container(b"[" * 30_000, b"")),
    Bomb("a schema 20,000 objects deep", "schema_refused", lambda: container(b'{"type":' * 20_000, b"")),
    Bomb("records 33 deep", "schema_refused", lambda: container(within(33), b"\x00")),
    Bomb("a name of 200 kB", None, lambda: container({**EVENT, "name": "n" * 200_000}, b"\x00\x02\x00\x00")),
    Bomb(
        "7,000 branches",
        "schema_refused",
        lambda: container(record(x=[{"type": "map", "values": "int"}] * 7_000), long(7_000) + b"\x00"),
    ),
    Bomb(
        "a huge fixed", "schema_refused", lambda: container(record(f={"type": "fixed", "name": "f", "size": GIB}), b"")
    ),
    Bomb("a million entries in the header", "decode", lambda: b"Obj\x01" + long(1_000_000) + b"\x02a\x02b" * 1_000_000),
    Bomb("-2^63 entries in the header", "decode", lambda: b"Obj\x01" + long(-(1 << 63)) + long(4) + b"\x02a\x02b"),
    Bomb("an entry of 4 MB", "too_large", lambda: header(EVENT, more=bytes(MESSAGE_BYTES - 1000)) + b"\x02\x02\x00"),
    Bomb("an entry of 1 GiB that isn't there", "decode", lambda: b"Obj\x01" + long(1) + long(GIB) + b"abc"),
    Bomb("a schema of a byte too many", "schema_refused", lambda: container(b" " * (SCHEMA_BYTES + 1), b"")),
    Bomb("an unknown codec", "decode", lambda: container(EVENT, b"", codec=b"lzma\xff")),
    *(
        Bomb(f"a block that says {size} bytes", "decode", always(container(EVENT, bytes(9), size=size)))
        for size in (8, 10, GIB, 1 << 62, -1, -(1 << 63))
    ),
    *(
        Bomb(
            f"a block that says {count} records",
            "decode",
            always(container(EVENT, bytes(9), records=count)),
        )
        for count in (0, 2, GIB, 1 << 62, -1, -(1 << 63))
    ),
    Bomb("a block's size of 11 bytes", "decode", lambda: header(EVENT) + b"\x02" + b"\xff" * 10 + b"\x01"),
    Bomb("a message beyond the budget", "too_large", lambda: bytes(MESSAGE_BYTES + 1)),
]

COMPRESSED = [
    Bomb("deflate, 1000:1", "too_large", lambda: container(ROWS, deflated(bytes(BYTES)), b"deflate"), memory=INFLATED),
    Bomb("deflate, cut short", "decode", lambda: container(ROWS, deflated(bytes(1000))[:-3], b"deflate")),
    Bomb("deflate, rubbish", "decode", lambda: container(ROWS, b"\xff" * 1000, b"deflate")),
    Bomb(
        "deflate within the budget",
        None,
        lambda: container(ROWS, deflated(picture(BLOCK_BYTES - 99)), b"deflate"),
        memory=INFLATED,
    ),
    Bomb("zstandard, 28,000:1", "too_large", lambda: container(ROWS, zstandard(bytes(BYTES)), b"zstandard")),
    Bomb("zstandard, a lie of 2^60", "decode", lambda: container(ROWS, lying_zstandard(1 << 60), b"zstandard")),
    Bomb("zstandard, rubbish", "decode", lambda: container(ROWS, b"\x28\xb5\x2f\xfd" + b"\xff" * 99, b"zstandard")),
    Bomb("zstandard, nothing", "decode", lambda: container(ROWS, b"", b"zstandard")),
    Bomb("snappy, a lie of 4 GiB", "too_large", lambda: container(ROWS, b"\xff\xff\xff\xff\x0f" + bytes(9), b"snappy")),
    Bomb("snappy, a lie of 2^60", "too_large", lambda: container(ROWS, b"\xff" * 8 + b"\x0f" + bytes(9), b"snappy")),
    Bomb("snappy, a lie of 15 MB", "decode", lambda: container(ROWS, b"\xc0\xcf\xb0\x07" + bytes(9), b"snappy")),
    Bomb("snappy, nothing", "decode", lambda: container(ROWS, b"", b"snappy")),
    Bomb("snappy, no checksum", "decode", lambda: container(ROWS, b"\x01\x00\x00", b"snappy")),
]

RECORDS = [
    Bomb(name, "decode", always(data), "plain", schema)
    for schema, cases in (
        (
            EVENT,
            {
                "a text of 1 GiB": b"\x00\x02" + long(GIB) + b"abc",
                "a text of -1": b"\x00\x02" + long(-1) + b"abc",
                "a text of -2^63": b"\x00\x02" + long(-(1 << 63)) + b"abc",
                "a number of 11 bytes": b"\x00" + b"\xff" * 10 + b"\x01\x00\x00",
                "a number of 4 MB": b"\x00" + b"\xff" * (MESSAGE_BYTES - 1),
                "a symbol of 2^40": b"\x00\x02\x00" + long(1 << 40),
                "a symbol of -1": b"\x00\x02\x00" + long(-1),
                "a branch of 2^40": long(1 << 40) + b"\x02\x00\x00",
                "bytes left over": b"\x00\x02\x00\x00" + bytes(1_000_000),
                "nothing": b"",
            },
        ),
        (
            ROWS,
            {
                "2^31 rows": long(1 << 31) + b"\x02\x00",
                "-2^63 rows": long(-(1 << 63)) + long(1) + b"\x02\x00\x00",
                "-2^62 rows in a block of -1 bytes": long(-(1 << 62)) + long(-1) + b"\x02\x00\x00",
                "more rows than are read": long(ITEMS + 1) + bytes(ITEMS + 1) + b"\x00\x00",
                "more rows than are read, in blocks of one": (long(1) + b"\x02") * (ITEMS + 1) + b"\x00\x00",
                "four million rows": long(MESSAGE_BYTES - 9) + bytes(MESSAGE_BYTES - 4),
            },
        ),
        (
            MAP,
            {
                "2^40 entries": long(1 << 40) + bytes(99),
                "a block of 2^62 bytes": long(-3) + long(1 << 62) + bytes(99),
                "blocks without an end": (long(-1) + long(0)) * 2_000_000,
                "a key of 1 GiB": long(1) + long(GIB) + bytes(99),
            },
        ),
        (
            UNCOVERED,
            {
                "slowly: 2^40 entries": long(1 << 40) + bytes(99),
                "slowly: -2^63 entries": long(-(1 << 63)) + long(9) + bytes(99),
                "slowly: a text of 1 GiB": b"\x00" + long(GIB) + b"abc",
                "slowly: a text of -1": b"\x00" + long(-1) + b"abc",
                "slowly: a number of 11 bytes": b"\x00\x00\x02" + b"\xff" * 10 + b"\x01\x00",
                "slowly: 2^31 rows": b"\x00\x00" + long(1 << 31) + b"\x02",
            },
        ),
    )
    for name, data in cases.items()
]
RECORDS += [
    Bomb("as many rows as are read", None, lambda: long(ITEMS) + bytes(ITEMS) + b"\x00\x00", "plain", ROWS),
    Bomb("arrays 30 deep", None, lambda: b"\x02" * 30 + bytes(31), "plain", record(a=lists(30))),
    Bomb(
        "slowly: four million rows",
        "too_large",
        lambda: b"\x00\x00" + long(MESSAGE_BYTES - 99) + bytes(MESSAGE_BYTES - 98),
        "plain",
        UNCOVERED,
    ),
]

DOCUMENTS = [
    Bomb("zlib, 1000:1", "too_large", lambda: zlib.compress(bytes(BYTES)), "bson", memory=INFLATED),
    Bomb(
        "BSON of two million lists",
        "too_large",
        lambda: bson_list(b"\x04\x00\x05\x00\x00\x00\x00", 2_000_000),
        "bson",
        memory=INFLATED,
    ),
    Bomb(
        "BSON of seven million nulls", "too_large", lambda: bson_list(b"\x0a\x00", 7_000_000), "bson", memory=INFLATED
    ),
    Bomb("BSON of a million numbers", "too_large", lambda: bson_list(b"\x01\x00abcdefgh", 1_000_000), "bson"),
    Bomb("BSON of 2 GiB that aren't there", "decode", lambda: zlib.compress(b"\xff\xff\xff\x7f" + bytes(99)), "bson"),
    Bomb("BSON with a text of -1", "decode", lambda: zlib.compress(bson(b"\x02x\x00\xff\xff\xff\xff\x00")), "bson"),
    Bomb("BSON 10,000 deep", "decode", lambda: zlib.compress(nested_bson(10_000)), "bson"),
    Bomb("JSON 100,000 deep", "decode", lambda: b'{"a":' + b"[" * 100_000, "json"),
    Bomb("JSON objects 100,000 deep", "decode", lambda: b'{"a":' * 100_000, "json"),
    Bomb("JSON a million deep", "too_large", lambda: b'{"a":' + b"[" * 1_000_000, "json"),
    Bomb("JSON of a million lists", "too_large", lambda: b'{"a":[' + b"[]," * 1_000_000 + b"[]]}", "json"),
    Bomb("JSON of a million keys", "too_large", lambda: b"{" + b'"a":0,' * 600_000 + b'"b":0}', "json"),
    Bomb("JSON's last key again", "decode", lambda: b'{"a":0,"a":1}', "json"),
    Bomb("JSON number of four million digits", None, lambda: b'{"x":' + b"9" * 4_000_000 + b"}", "json"),
    Bomb("JSON id of four million digits", "invalid", lambda: b'{"id":' + b"9" * 4_000_000 + b"}", "json"),
    Bomb("JSON exponent", None, lambda: b'{"x":1e' + b"9" * 100_000 + b"}", "json"),
    Bomb("JSON fraction", None, lambda: b'{"x":0.' + b"3" * 4_000_000 + b"}", "json"),
    Bomb("JSON escapes", None, lambda: b'{"x":1,"y":"' + b"\\ud83d\\ude00" * 300_000 + b'"}', "json"),
    Bomb("JSON lone surrogate", "decode", lambda: b'{"x":1,"who":"\\ud83d"}', "json"),
    Bomb("a key that is a recursive schema", "schema_refused", lambda: bytes(99), "key", key=lambda: dumped(RECURSIVE)),
    Bomb("a key 40,000 deep", "schema_unknown", lambda: bytes(9), "key", key=lambda: b'{"fields":' + b"[" * 40_000),
    Bomb("a key of 1 MB", "schema_unknown", lambda: bytes(9), "key", key=lambda: dumped(wide(40_000))),
    Bomb("a schema id and no registry", "schema_unknown", lambda: b"\x00\xff\xff\xff\xff" + bytes(99), "confluent"),
]

BOMBS = CONTAINERS + COMPRESSED + RECORDS + DOCUMENTS


def forget() -> None:
    """Whatever schemas and keys were remembered."""
    parse_schema.cache_clear()
    framing_module._is_record.cache_clear()  # noqa: SLF001


def explode(bomb: Bomb) -> Callable[[], Decoded]:
    """The bomb, built; calling it decodes it with nothing known of its schema."""
    value, key = bomb.build(), bomb.key() if bomb.key else None

    def decode() -> Decoded:
        forget()
        return Decoder(WANTED, bomb.framing, bomb.schema).decode([value], [key])

    return decode


def resident() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_a_bomb_is_refused_for_its_reason_within_its_memory(bomb: Bomb) -> None:
    decode = explode(bomb)
    decode()  # numba allocates while it loads what it has compiled
    before = resident()
    tracemalloc.start()
    try:
        decoded = decode()
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.error.reason for one in decoded.rejected] == ([] if bomb.reason is None else [bomb.reason])
    assert len(decoded.columns) == (bomb.reason is None)
    assert taken < bomb.memory
    assert resident() - before < bomb.memory


def test_a_batch_of_bombs_takes_not_much_more_than_a_few() -> None:
    bomb = container(ROWS, deflated(picture(BLOCK_BYTES - 99)), b"deflate")
    decoder = Decoder(WANTED)
    decoder.decode([bomb])
    tracemalloc.start()
    try:
        decoded = decoder.decode([bomb] * 30)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(decoded.columns) == 30
    assert decoded.index.tolist() == list(range(30))
    assert taken < 4 * (INFLATED_BYTES + BLOCK_BYTES)


@pytest.mark.parametrize("body", [b"\x02\x01\x00", b"\x02\x00\x01", b"\x02\x00\x03", b"\xff" * 10 + b"\x01\x00\x00"])
def test_fastavro_reads_nothing_that_the_kernels_refuse(body: bytes) -> None:
    """By itself it takes the branch -1 for the last one, and cuts numbers to 64 bits."""
    schema = record(who="int", e={"type": "enum", "name": "e", "symbols": ["A", "B"]}, x=["null", "double"])
    decoder = Decoder(Wanted(numbers=("x",), texts=("who",)), "plain", schema)
    decoded = decoder.decode([b"\x02\x00\x00", body, b"\x02\x00\x00"])
    assert decoder.fallbacks == 1
    assert decoded.index.tolist() == [0, 2]
    assert [one.error.reason for one in decoded.rejected] == ["decode"]


def test_names_are_told_apart() -> None:
    assert len({bomb.name for bomb in BOMBS}) == len(BOMBS)


def test_good_neighbours_come_through_among_bombs() -> None:
    good = container(EVENT, b"\x02" + struct.pack("<d", 1.5) + b"\x0e\x06you\x00")
    bombs = [bomb.build() for bomb in CONTAINERS + COMPRESSED if bomb.reason]
    decoder = Decoder(WANTED, "container")
    for start in range(0, len(bombs), 8):
        part = [one for bomb in bombs[start : start + 8] for one in (good, bomb)]
        decoded = decoder.decode(part)
        assert decoded.index.tolist() == list(range(0, len(part), 2))
        assert [one.index for one in decoded.rejected] == list(range(1, len(part), 2))
        assert set(decoded.columns.number("x").tolist()) == {1.5}
        assert set(decoded.columns.integer("id").tolist()) == {7}


def test_numbers_that_are_too_much_are_infinite_and_seen() -> None:
    for bomb in BOMBS:
        if bomb.name in {"JSON number of four million digits", "JSON exponent"}:
            assert np.isposinf(explode(bomb)().columns.number("x")).all()
