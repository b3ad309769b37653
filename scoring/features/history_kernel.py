"""The points of `history.History`: which are remembered, in which order, and what an alert's window takes from them.

An object's points stand newest first: a new one mostly goes to the front, the one to drop is the last, and a row whose
unused points are all zero ends in zeros.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..keyed import NOWHERE, Slots, find

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Points = NDArray[np.void]  # with a `jd` and a `band`, and whatever else a detection has: a window's `point`


@njit(cache=True, nogil=True)
def remember_rows(
    slots: Slots,
    counts: NDArray[np.int16],
    points: Points,
    keys: NDArray[np.uint64],
    offsets: Ints,
    packets: Points,
    detected: Flags,
    sound: Flags,
) -> tuple[Ints, Points]:
    """For alert after alert: what the packet lacks and the memory has; then the memory learns the packet.

    slots, counts [S], points [S, P]: the memory. keys [n], offsets [n + 1], packets [m]: the alerts' windows, the
    candidate last; detected, sound [m]: the rows that are detections, and those that may be remembered. Returns
    taken [n] and the points themselves, flattened in the order of the alerts, oldest first.
    """
    taken = np.zeros(len(keys), np.int64)
    brought = np.empty(points.shape[1], packets.dtype)
    in_packet = np.empty(points.shape[1], np.bool_)
    used = 0
    for alert in range(len(keys)):
        slot = find(slots, keys[alert])
        start, stop = offsets[alert], offsets[alert + 1]
        packet = packets[start:stop]
        if slot == NOWHERE or len(packet) == 0:
            continue
        own, count = points[slot], _bounded(counts[slot], points.shape[1])
        _mark_common(own[:count], packet, detected[start:stop], in_packet)
        while used + count > len(brought):
            brought = _doubled(brought)
        before = used
        for k in range(count - 1, -1, -1):
            if not in_packet[k] and own[k].jd <= packet[-1].jd:
                brought[used] = own[k]
                used += 1
        taken[alert] = used - before
        counts[slot] = _learn(own, count, packet, sound[start:stop])
    return taken, brought[:used]


@njit(cache=True, nogil=True)
def _bounded(count: int, most: int) -> int:
    """A count to index with, whatever a row that came from elsewhere says."""
    return max(0, min(int(count), most))


@njit(cache=True, nogil=True)
def _mark_common(own: Points, packet: Points, detected: Flags, common: Flags) -> None:
    """Which of an object's own points have the time and band of a detection in the packet."""
    common[: len(own)] = False
    for row in range(len(packet)):
        if detected[row]:
            point = packet[row]
            k = _place(own, len(own), point)
            if k < len(own) and _same(own[k], point):
                common[k] = True


@njit(cache=True, nogil=True)
def _learn(own: Points, count: int, packet: Points, sound: Flags) -> int:
    """Merge the packet's sound points into an object's own, keep the newest, return how many there are now.

    From the last row to the first, each in the place of what was there: so the first of a packet's duplicates stays.
    """
    room = len(own)
    for row in range(len(packet) - 1, -1, -1):
        point = packet[row]
        if not (sound[row] and point.jd <= packet[-1].jd):
            continue
        k = _place(own, count, point)
        if k < count and _same(own[k], point):
            own[k] = point
        elif k < room:
            count = min(count + 1, room)
            for older in range(count - 1, k, -1):
                own[older] = own[older - 1]
            own[k] = point
    return count


@njit(cache=True, nogil=True)
def _place(own: Points, count: int, point: Any) -> int:
    """Where the point is, or belongs, among the first `count`: the first that is not newer."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if _newer(own[middle], point):
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _newer(one: Any, other: Any) -> bool:
    """A total order, so that which points are kept never depends on who came first."""
    return bool(one.jd > other.jd or (one.jd == other.jd and one.band > other.band))


@njit(cache=True, nogil=True)
def _same(one: Any, other: Any) -> bool:
    return bool(one.jd == other.jd and one.band == other.band)


@njit(cache=True, nogil=True)
def _doubled(points: Points) -> Points:
    longer = np.empty(2 * len(points), points.dtype)
    longer[: len(points)] = points
    return longer
