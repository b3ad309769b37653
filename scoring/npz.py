"""`.npz` files read with care: everything a header claims is checked before memory is allocated for it.

numpy's own loader trusts the header: one hostile file of a few hundred bytes asks for 30 GiB.
Format: NEP 1 (npy), a zip of npy members (npz). Object arrays, and with them pickle, are refused.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

# The largest model in use, 500 trees of 3,000 rows, takes 40 MB.
TOTAL_BYTES = 512 << 20
MEMBERS = 64
KINDS = "biufU"  # bool, int, uint, float, and text of fixed width: nothing that could hold code


def write_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The arrays as npz bytes; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return stream.getvalue()


def read_arrays(data: bytes, where: str | Path, limit: int = TOTAL_BYTES) -> dict[str, NDArray[np.generic]]:
    """The arrays in npz bytes, by name. Raises `ModelError` for anything but numbers and text within `limit` bytes."""
    try:
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


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype.kind not in KINDS or fortran:
            raise ValueError(f"{member.filename} holds {dtype}, {'Fortran' if fortran else 'C'} order")
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} says {size} bytes, the file has {member.file_size - stream.tell()}")
        # The declared file size bounds the read; a member that inflates to more fails its length check here.
        body = stream.read(size)
        if len(body) != size or stream.read(1):
            raise ValueError(f"{member.filename} is not as long as it says")
    return np.frombuffer(body, dtype).reshape(shape).copy()
