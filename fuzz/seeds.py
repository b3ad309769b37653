"""Writes the fuzzer's first inputs, fuzz/corpus/decode: `python fuzz/seeds.py`. A test says that they are as written.

Two kinds of message are left out on purpose, since they bring other readers of Avro down: recursive types with data
without an end, and arrays of items that take no bytes. Tests build those themselves (tests/schemas/test_bombs.py).
Compressed bytes are made by hand, so that no version of a library changes a file.
"""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro

from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.producer.simulate.sessions import simulate_sessions

CORPUS = Path(__file__).resolve().parent / "corpus/decode"
SYNC = b"0123456789abcdef"
#: Between a key and its value: `target.BETWEEN`.
BETWEEN = b"\n\n"

EVENT: dict[str, Any] = {
    "type": "record",
    "name": "event",
    "fields": [
        {"name": "user_id", "type": "string"},
        {"name": "x", "type": ["null", "double"]},
        {"name": "who", "type": {"type": "enum", "name": "who", "symbols": ["a", "b"]}},
        {"name": "seen", "type": {"type": "array", "items": "long"}},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
    ],
}
EVENT_BODY = b"\x06you" + b"\x02" + struct.pack("<d", 1.5) + b"\x02" + b"\x04\x02\x04\x00" + b"\x02\x02k\x02v\x00"
ODD = {"type": "record", "name": "odd", "fields": [{"name": "x", "type": "int"}, {"name": "user_id", "type": "bytes"}]}


def long(value: int) -> bytes:
    """Avro's zigzag varint."""
    raw, out = (value << 1) ^ (value >> 63), bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*out, raw])


def dumped(schema: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(schema, separators=(",", ":")).encode()


def header(schema: bytes, codec: bytes = b"null", entries: int = 2) -> bytes:
    """A container's, up to its sync marker; `entries` may lie."""
    pairs = {b"avro.schema": schema, b"avro.codec": codec}
    said = b"".join(long(len(one)) + one for pair in pairs.items() for one in pair)
    return b"Obj\x01" + long(entries) + said + b"\x00" + SYNC


def container(
    schema: Any, body: bytes, codec: bytes = b"null", records: int = 1, size: int | None = None, sync: bytes = SYNC
) -> bytes:
    """One block, which may lie about itself."""
    return header(dumped(schema), codec) + long(records) + long(len(body) if size is None else size) + body + sync


def bare(record: Mapping[str, Any], schema: Any) -> bytes:
    """A record alone."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def stored(data: bytes) -> bytes:
    """Deflate without compressing (RFC 1951, 3.2.4)."""
    return b"\x01" + struct.pack("<HH", len(data), 0xFFFF ^ len(data)) + data


def zlibbed(data: bytes) -> bytes:
    """A zlib stream (RFC 1950) without compression."""
    return b"\x78\x01" + stored(data) + zlib.adler32(data).to_bytes(4, "big")


def zeros(runs: int) -> bytes:
    """Deflate of 1 + 258 x `runs` zero bytes, 13 bits a run: fixed codes, a literal, then length 258 at distance 1."""
    bits = "1" + "10" + "00110000" + ("11000101" + "00000") * runs + "0000000"
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def snappy(data: bytes) -> bytes:
    """One literal of up to 60 bytes, and the checksum that Avro adds."""
    return bytes([len(data), (len(data) - 1) << 2]) + data + zlib.crc32(data).to_bytes(4, "big")


def zstandard(data: bytes, says: int | None = None) -> bytes:
    """One raw block (RFC 8878) of up to 255 bytes; the frame's header `says` how many."""
    size = len(data) if says is None else says
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + (len(data) << 3 | 1).to_bytes(3, "little") + data


def bson(body: bytes) -> bytes:
    """A document of raw elements."""
    return struct.pack("<i", len(body) + 5) + body + b"\x00"


def without_docs(schema: Any) -> Any:
    """A schema without its comments."""
    if isinstance(schema, dict):
        return {key: without_docs(value) for key, value in schema.items() if key != "doc"}
    return [without_docs(one) for one in schema] if isinstance(schema, list) else schema


def good() -> dict[str, bytes]:
    """What streams are made of: simulated alerts and events, in all framings and codecs."""
    alerts = [one.record for one in simulate_night(3, date(2026, 11, 21), 60)]
    events = [one.record for one in simulate_sessions(1, datetime(2026, 11, 21, tzinfo=UTC), 2)]
    sky, web = (without_docs(json.loads(load(name).text)) for name in ("ztf_like", "behaviour"))
    alert = min((bare(one, sky) for one in alerts), key=len)
    event, event_json = bare(events[0], web), json.dumps(events[1]).encode()
    document = b"".join(
        [
            b"\x02user_id\x00" + struct.pack("<i", 4) + b"you\x00",
            b"\x01clicks_count\x00" + struct.pack("<d", 3),
            b"\x12page_views\x00" + struct.pack("<q", 1 << 60),
            b"\x04list\x00" + bson(b"\x080\x00\x01\x0a1\x00"),
            b"\x09when\x00" + struct.pack("<q", 1_800_000_000_000),
        ]
    )
    return {
        "alert_container": container(sky, alert),
        "alert_deflate": container(sky, stored(alert), b"deflate"),
        "alert_key": dumped(sky) + BETWEEN + alert,
        "event_plain": event,
        "event_confluent": b"\x00\x00\x00\x00\x01" + event,
        "event_json": event_json,
        "event_hopskotch": b'{"format":"json","content":' + event_json + b"}",
        "event_bson": zlibbed(bson(document)),
        "event_bson_bare": bson(document),
        "small_container": container(EVENT, EVENT_BODY),
        "small_deflate": container(EVENT, stored(EVENT_BODY), b"deflate"),
        "small_snappy": container(EVENT, snappy(EVENT_BODY), b"snappy"),
        "small_zstandard": container(EVENT, zstandard(EVENT_BODY), b"zstandard"),
        "small_key": dumped(EVENT) + BETWEEN + EVENT_BODY,
        "odd_fallback": container(ODD, long(7) + b"\x06you"),
    }


def hostile() -> dict[str, bytes]:
    """Lies and damage, a few hundred bytes each."""
    rows = {"type": "array", "items": {"type": "record", "name": "row", "fields": [{"name": "jd", "type": "double"}]}}
    table = {"type": "record", "name": "t", "fields": [{"name": "prv_candidates", "type": rows}]}
    text = {"type": "record", "name": "s", "fields": [{"name": "objectId", "type": "string"}]}
    deep: Any = "int"
    for level in range(40):
        deep = {"type": "record", "name": f"d{level}", "fields": [{"name": "candidate", "type": deep}]}
    whole = container(EVENT, EVENT_BODY)
    return {
        "empty": b"",
        "magic_alone": b"Obj\x01",
        "cut_header": whole[:60],
        "cut_block": whole[:-20],
        "no_schema": b"Obj\x01\x00" + SYNC,
        "negative_entries": b"Obj\x01" + long(-(1 << 63)) + long(8) + whole[5:],
        "many_entries": b"Obj\x01" + long(1_000) + b"\x02a\x02b" * 1_000,
        "lying_entries": header(dumped(EVENT), entries=3),
        "bad_codec": container(EVENT, EVENT_BODY, b"lzma\xff"),
        "block_too_long": container(EVENT, EVENT_BODY, size=1 << 62),
        "block_negative": container(EVENT, EVENT_BODY, size=-1),
        "block_two_records": container(EVENT, EVENT_BODY * 2, records=2),
        "wrong_sync": container(EVENT, EVENT_BODY, sync=b"x" * 16),
        "deflate_bomb": container(EVENT, zeros(4_000), b"deflate"),
        "zlib_bomb": b"\x78\x01" + zeros(4_000),
        "zstandard_lie": container(EVENT, zstandard(EVENT_BODY, 1 << 60), b"zstandard"),
        "snappy_lie": container(EVENT, b"\xff\xff\xff\xff\x0f" + snappy(EVENT_BODY)[1:], b"snappy"),
        "rows_2_31": container(table, long(1 << 31) + bytes(64)),
        "rows_negative": container(table, long(-(1 << 63)) + long(16) + bytes(64)),
        "rows_negative_size": container(table, long(-2) + long(-1) + bytes(64)),
        "rows_nan": container(table, long(2) + struct.pack("<dd", float("nan"), float("inf")) + b"\x00"),
        "text_1_gib": container(text, long(1 << 30) + b"ZTF"),
        "text_negative": container(text, long(-1) + b"ZTF"),
        "text_not_utf8": container(text, long(3) + b"\xed\xa0\x80"),
        "symbol_2_40": container(EVENT, EVENT_BODY[:13] + long(1 << 40) + EVENT_BODY[14:]),
        "symbol_negative": container(EVENT, EVENT_BODY[:13] + long(-1) + EVENT_BODY[14:]),
        "branch_negative": container(EVENT, EVENT_BODY[:4] + long(-1) + EVENT_BODY[5:]),
        "varint_11_bytes": container(text, b"\xff" * 10 + b"\x01"),
        "schema_deep": container(deep, b"\x02"),
        "schema_lists": header(b"[" * 2_000),
        "schema_no_json": header(b"{'type': 'record'}"),
        "schema_id_unknown": b"\x00\xff\xff\xff\xff" + EVENT_BODY,
        "json_deep": b'{"a":' * 500,
        "json_digits": b'{"clicks_count":' + b"9" * 5_000 + b"}",
        "json_nan": b'{"user_id":"u","session_id":"s","clicks_count":NaN,"page_views":-Infinity}',
        "json_surrogate": b'{"user_id":"\\ud83d"}',
        "json_twice": b'{"user_id":"a","user_id":"b"}',
        "bson_lies": zlibbed(b"\xff\xff\xff\x7f" + bytes(64)),
        "bson_deep": zlibbed(
            b"".join(struct.pack("<i", 5 + 8 * (60 - i)) + b"\x03a\x00" for i in range(60)) + bytes(65)
        ),
        "key_no_schema": b'{"fields":' + b"[" * 500 + BETWEEN + EVENT_BODY,
    }


def main() -> None:
    """Write them all."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, data in (good() | hostile()).items():
        (CORPUS / name).write_bytes(data)


if __name__ == "__main__":
    main()
