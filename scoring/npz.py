"""`.npz` files read with care: everything a header claims is checked before memory is allocated for it.

numpy's own loader trusts the header: one hostile file of a few hundred bytes asks for 30 GiB. It also parses headers as
Python literals, and zipfile reads a directory of any length and knows compressions that take gigabytes to undo. Here is
read what `write_arrays` writes and nothing else: a zip (PKWARE's APPNOTE, without zip64) of stored or deflated npy
members (NEP 1, version 1.0, C order). Object arrays, and with them pickle, can't even be written down.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

# The largest model in use, 500 trees of 3,000 rows, takes 40 MB.
TOTAL_BYTES = 512 << 20
MEMBERS = 64
# A directory entry is 46 bytes and a name; those of a model have up to 24.
DIRECTORY_BYTES = MEMBERS * 256
# Checkpoints are written every ten seconds: the default, 6, takes twice as long (44 ms, not 23) and makes them a
# twentieth smaller.
LEVEL = 1
# What is held twice while an array fills up.
CHUNK_BYTES = 1 << 20

# The end of a zip without a comment: signature, 8 bytes on disks and entries, the directory's size and place, 0.
END = struct.Struct("<4s8xII2s")
ZIP64_LOCATOR_BYTES = 20
# An npy header as numpy writes it. The types: bool, int, uint, float, and text of fixed width; nothing that could hold
# code. Up to 8 dimensions of 10 digits.
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '(\|[biu]1|<[iuf][248]|<U[1-9]\d{0,3})', 'fortran_order': False, "
    rb"'shape': \((|\d{1,10},|\d{1,10}(?:, \d{1,10}){1,7})\), \} *\n"
)
LAST_CODE_POINT, SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)


def write_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The arrays as npz bytes; equal arrays give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, allowZip64=False, compresslevel=LEVEL) as archive:
        for name in sorted(arrays):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(arrays[name]), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def read_arrays(data: bytes, where: str | Path, limit: int = TOTAL_BYTES) -> dict[str, NDArray[np.generic]]:
    """The arrays in npz bytes, by name, each owning its memory; beyond them about a megabyte is allocated.

    Raises `ModelError` for anything but numbers and text within `limit` bytes in all.
    """
    try:
        _check_directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise ModelError(f"{len(members)} arrays; {MEMBERS} are allowed", where=str(where))
            if sum(member.file_size for member in members) > limit:
                raise ModelError(f"more than {limit} bytes of arrays", where=str(where))
            arrays = {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except (zipfile.error, zlib.error, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"not a readable npz file: {error}", where=str(where)) from error
    if len(arrays) != len(members):
        raise ModelError("two arrays have one name", where=str(where))
    return arrays


def _check_directory(data: bytes) -> None:
    """Raise ValueError unless the zip's directory is as short as 64 arrays need; zipfile reads it whole."""
    if len(data) < END.size:
        raise ValueError("too short for a zip")
    signature, size, start, comment = END.unpack_from(data, len(data) - END.size)
    locator = data[-END.size - ZIP64_LOCATOR_BYTES :][:4]
    if signature != b"PK\x05\x06" or comment != b"\0\0" or locator == b"PK\x06\x07":
        raise ValueError("no zip, or one with a comment or of more than 4 GiB")
    if size > DIRECTORY_BYTES or start + size + END.size != len(data):
        raise ValueError(f"a directory of {size} bytes at {start}, in a file of {len(data)}")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise ValueError(f"{member.filename} is encrypted, or compressed by other means than deflate")
    with archive.open(member) as stream:
        dtype, shape = _read_header(stream)
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} says {size} bytes, the file has {member.file_size - stream.tell()}")
        array: NDArray[Any] = np.empty(shape, dtype)
        cells = array.reshape(-1).view(np.uint8)
        # The declared file size bounds the read; a member that inflates to less or more fails here.
        for at in range(0, size, CHUNK_BYTES):
            room = cells[at : at + CHUNK_BYTES]
            piece = stream.read(len(room))
            if len(piece) != len(room):
                raise ValueError(f"{member.filename} is shorter than it says")
            room[:] = np.frombuffer(piece, np.uint8)
        if stream.read(1):
            raise ValueError(f"{member.filename} is longer than it says")
    if dtype.kind == "b" and (cells > 1).any():
        raise ValueError(f"{member.filename} holds bools that are neither 0 nor 1")
    if dtype.kind == "U":
        points = array.reshape(-1).view(np.uint32)
        if ((points > LAST_CODE_POINT) | ((points >= SURROGATES[0]) & (points <= SURROGATES[1]))).any():
            raise ValueError(f"{member.filename} holds text that is no Unicode")
    return array


def _read_header(stream: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype and the shape that an npy header states."""
    start = stream.read(len(MAGIC) + 2)
    if len(start) < len(MAGIC) + 2 or not start.startswith(MAGIC):
        raise ValueError("not an npy file of version 1.0")
    found = HEADER.fullmatch(stream.read(int.from_bytes(start[-2:], "little")))
    if found is None:
        raise ValueError("not the npy header of an array of numbers or text in C order")
    return np.dtype(found[1].decode()), tuple(int(length) for length in re.findall(rb"\d+", found[2]))
