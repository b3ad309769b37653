"""Many messages as one array of bytes, without copying the large ones.

Alerts are large (75 kB, nine tenths of it pictures that nobody reads here), and joining a batch of them costs as much
as decoding it. A window is an array over the stretch of memory in which all the messages lie; each message is a range
of it. What lies between isn't ours and must never be read: every kernel checks each read against its message's range.
"""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

# CPython keeps the bytes of a `bytes` object at the end of it, before one closing zero.
_PAYLOAD = bytes.__basicsize__ - 1
_PROBE = b"skimstream"
#: Whether this interpreter does so, seen and not believed; elsewhere messages are joined.
PLACED = ctypes.string_at(id(_PROBE) + _PAYLOAD, len(_PROBE)) == _PROBE
# Bytes a message, on average, up to which messages are joined, in less time than asking each for its place takes.
SMALL = 1024


def window(
    messages: Sequence[bytes], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """(data, starts, ends): message i, of sizes[i] bytes, is data[starts[i]:ends[i]], int64[n] each.

    `data` is valid only as long as the messages are alive, and only inside of those ranges.

    >>> messages = [b"one", b"", b"three"]
    >>> data, starts, ends = window(messages, np.array([3, 0, 5]))
    >>> [data[start:end].tobytes() for start, end in zip(starts, ends)]
    [b'one', b'', b'three']
    """
    if not PLACED or sizes.sum() <= SMALL * len(messages):
        ends = np.cumsum(sizes)
        return np.frombuffer(bytearray().join(messages), np.uint8), ends - sizes, ends
    starts = np.fromiter(map(id, messages), np.int64, len(messages)) + _PAYLOAD
    base = int(starts.min())
    starts -= base
    ends = starts + sizes
    first = np.ctypeslib.as_array(ctypes.pointer(ctypes.c_uint8.from_address(base)), (1,))
    return as_strided(first, shape=(max(1, int(ends.max())),), strides=(1,)), starts, ends
