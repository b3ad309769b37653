"""Avro object containers, one record a message: the framing of ZTF, Babamul and archives.

Source: Avro 1.11 specification, "Object Container Files". The header is read here, not by the Avro library, so that a
schema seen before is never parsed again and every size is checked before it is believed.
"""

import zlib
from typing import NamedTuple

import cramjam

from .errors import DecodeError
from .limits import BLOCK_BYTES, SCHEMA_BYTES

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
# avro.schema, avro.codec and a few of the writer's own; more is no header that anybody writes.
HEADER_ENTRIES = 64
# The schema and what the writer adds: known headers are kept to be compared, so one may not be as long as a message.
HEADER_BYTES = SCHEMA_BYTES + (64 << 10)
CODECS = ("null", "deflate", "snappy", "zstandard")
# Zstandard blocks need not say how long they become: first try what is plenty for a record, then the whole budget.
ZSTANDARD_RATIO = 16


class Header(NamedTuple):
    """What a container says before its first block."""

    schema: bytes
    codec: str
    sync: bytes
    end: int


class Block(NamedTuple):
    """The bytes of `records` records, decompressed, and where the next block starts."""

    records: int
    data: bytes
    end: int


def read_header(message: bytes) -> Header:
    """Read a container's header. Raises `DecodeError` when it isn't one."""
    if not message.startswith(MAGIC):
        raise DecodeError("decode", "not an Avro container (it does not start with Obj\\x01)")
    schema, codec, at, entries = b"", b"null", len(MAGIC), 0
    while True:
        count, at = read_long(message, at)
        if count == 0:
            break
        if count < 0:
            _, at = read_long(message, at)
            count = -count
        entries += count
        if entries > HEADER_ENTRIES:
            raise DecodeError("decode", f"a container header with more than {HEADER_ENTRIES} entries")
        for _ in range(count):
            name, at = _read_bytes(message, at)
            value, at = _read_bytes(message, at)
            if name == b"avro.schema":
                schema = value
            elif name == b"avro.codec":
                codec = value
    if not schema:
        raise DecodeError("schema_unknown", "a container without a schema in its header")
    if len(schema) > SCHEMA_BYTES:
        raise DecodeError("schema_refused", f"a schema of {len(schema)} bytes; {SCHEMA_BYTES} are allowed")
    if codec not in (b"null", b"deflate", b"snappy", b"zstandard"):
        raise DecodeError("decode", f"the codec {codec[:20]!r}; {', '.join(CODECS)} can be read")
    end = at + SYNC_BYTES
    if end > len(message):
        raise DecodeError("decode", "the container ends inside its header")
    if end > HEADER_BYTES:
        raise DecodeError("too_large", f"a container header of {end} bytes; {HEADER_BYTES} are allowed")
    return Header(schema, codec.decode(), message[at:end], end)


def read_block(message: bytes, at: int, header: Header) -> Block:
    """Read the block at `at`, check its sync marker and decompress it, at most `BLOCK_BYTES`."""
    count, at = read_long(message, at)
    size, at = read_long(message, at)
    end = at + size + SYNC_BYTES
    if size < 0 or count < 0 or end > len(message):
        raise DecodeError("decode", f"a block says {size} bytes; {len(message) - at} are left")
    if message[end - SYNC_BYTES : end] != header.sync:
        raise DecodeError("decode", "a block does not end with the container's sync marker")
    return Block(count, _decompress(message[at : at + size], header.codec), end)


def only_block(message: bytes, header: Header) -> bytes:
    """The bytes of the one record that a message must hold."""
    block = read_block(message, header.end, header)
    if block.records != 1 or block.end != len(message):
        raise DecodeError("decode", f"a message must hold one block of one record; the first holds {block.records}")
    return block.data


def _decompress(data: bytes, codec: str) -> bytes:
    match codec:
        case "deflate":
            return _deflate(data)
        case "snappy":
            return _snappy(data)
        case "zstandard":
            return _zstandard(data)
        case _:
            return data


def _deflate(data: bytes) -> bytes:
    inflate = zlib.decompressobj(wbits=-15)
    try:
        plain = inflate.decompress(data, BLOCK_BYTES)
    except zlib.error as error:
        raise DecodeError("decode", f"deflate: {error}") from error
    if inflate.unconsumed_tail:
        raise DecodeError("too_large", f"a block of more than {BLOCK_BYTES} bytes")
    # Bytes after the end are no error: common writers leave three of zlib's checksum there.
    if not inflate.eof:
        raise DecodeError("decode", "deflate: the block is cut short")
    return plain


def _snappy(data: bytes) -> bytes:
    declared, _ = _read_varint(data, 0)
    if declared > BLOCK_BYTES:
        raise DecodeError("too_large", f"a block of {declared} bytes; {BLOCK_BYTES} are allowed")
    body, checksum = data[:-4], data[-4:]
    try:
        plain = bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise DecodeError("decode", f"snappy: {error}") from error
    if zlib.crc32(plain).to_bytes(4, "big") != checksum:
        raise DecodeError("decode", "snappy: the checksum does not fit")
    return plain


def _zstandard(data: bytes) -> bytes:
    """Into a buffer of a fixed size: what decompresses to more is an error before it is memory."""
    for size in (min(ZSTANDARD_RATIO * len(data), BLOCK_BYTES), BLOCK_BYTES):
        buffer = bytearray(size)
        try:
            return bytes(memoryview(buffer)[: cramjam.zstd.decompress_into(data, buffer)])
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):  # of all its errors, the one for a full buffer
                raise DecodeError("decode", f"zstandard: {error}") from error
    raise DecodeError("too_large", f"a block of more than {BLOCK_BYTES} bytes")


def _read_bytes(message: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_long(message, at)
    if size < 0 or at + size > len(message):
        raise DecodeError("decode", "a container header points past its end")
    return message[at : at + size], at + size


def read_long(message: bytes, at: int) -> tuple[int, int]:
    """A zigzag variable-length long at `at`, and the position after it."""
    raw, at = _read_varint(message, at)
    return (raw >> 1) ^ -(raw & 1), at


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):  # ten bytes carry 64 bits
        if at >= len(message):
            raise DecodeError("decode", "the message ends inside a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value >> 64 == 0:
            return value, at
    raise DecodeError("decode", "a number longer than 64 bits")
