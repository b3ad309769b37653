"""Where the one record of each container begins and ends, for many containers with one header at once."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .container import SYNC_BYTES
from .kernel import varint

# What can be wrong with a container's block; 0 is none of it.
BLOCK_SHORT, BLOCK_RECORDS, BLOCK_SIZE, BLOCK_SYNC = 1, 2, 3, 4
BLOCK_FAULTS = {
    BLOCK_SHORT: "the container ends inside its header or block",
    BLOCK_RECORDS: "a message must hold one block of one record",
    BLOCK_SIZE: "the block is not as long as it says, or something follows it",
    BLOCK_SYNC: "a block does not end with the container's sync marker",
}
_SYNC = np.int64(SYNC_BYTES)


def find_blocks(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], header: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Record start, record end and fault (0 = none), int64[n] each, of containers data[starts[i]:ends[i]].

    `header` is the length of what stands before the sync marker; the codec must be "null".
    """
    out = np.zeros((3, len(starts)), np.int64)
    _find(data, starts, ends, header, out)
    return out[0], out[1], out[2]


@njit(cache=True, nogil=True)
def _find(data, starts, ends, header, out):  # type: ignore[no-untyped-def]
    memory = data.ctypes.data
    for i in range(len(starts)):
        end = ends[i]
        sync = starts[i] + header
        at = sync + _SYNC
        records, at = varint(memory, at, end)
        if at < 0:
            out[2, i] = BLOCK_SHORT
            continue
        size, at = varint(memory, at, end)
        if at < 0:
            out[2, i] = BLOCK_SHORT
        elif records != 1:
            out[2, i] = BLOCK_RECORDS
        elif size < 0 or size > end - at or at + size + _SYNC != end:
            out[2, i] = BLOCK_SIZE
        else:
            out[0, i], out[1, i] = at, at + size
            for k in range(_SYNC):
                if data[sync + k] != data[at + size + k]:
                    out[2, i] = BLOCK_SYNC
                    break
