"""The points of `history.History`: which are remembered, in which order, and what an alert's window takes from them.

An object's points stand newest first: a new one mostly goes to the front, the one to drop is the last, and a row whose
unused points are all zero ends in zeros.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..keyed import NOWHERE, Slots, find
from .window import HUGE

Ints = NDArray[np.int64]
Points = NDArray[np.void]

# One detection, as the packet gave it: apparent magnitudes are made of it anew each time, since one row on a reference
# source converts the whole window. 50 bytes without gaps, which no code would write.
POINT = np.dtype(
    [
        ("jd", np.float64),  # days
        ("magpsf", np.float64),
        ("sigmapsf", np.float64),
        ("distnr", np.float64),  # pixels
        ("magnr", np.float64),
        ("sigmagnr", np.float64),
        ("band", np.int8),  # ZTF fid; 0 = none
        ("positive", np.bool_),
    ]
)

# A sound point makes no band malformed (window.py), whether its window is converted or not. Fluxes of the difference
# are within 1e-20 and 1e20, those of the reference at most 1, since a negative magnitude is a null; if one is taken off
# the other, 1e-16 of it is left or more. So errors stay below 1e4 * 1e16 * 2, and above 1e-6 * 1e-20 (faint on bright).
# Real magnitudes are 5 to 25, real errors 0.001 to 1; -999 is written for a missing sigmagnr.
LARGEST_MAGNITUDE = 50.0
LEAST_ERROR, LARGEST_ERROR = 1e-6, 1e4


@njit(cache=True, nogil=True)
def remember_rows(
    slots: Slots, counts: NDArray[np.int16], points: Points, keys: NDArray[np.uint64], offsets: Ints, packets: Points
) -> tuple[Ints, Points]:
    """For alert after alert: what the packet lacks and the memory has; then the memory learns the packet.

    slots, counts [S], points [S, P]: the memory. keys [n], offsets [n + 1], packets [m] POINT: the alerts' windows, the
    candidate last. Returns taken [n] and the points themselves, flattened in the order of the alerts, oldest first.
    """
    taken = np.zeros(len(keys), np.int64)
    brought = np.empty(points.shape[1], packets.dtype)
    in_packet = np.empty(points.shape[1], np.bool_)
    used = 0
    for alert in range(len(keys)):
        slot = find(slots, keys[alert])
        packet = packets[offsets[alert] : offsets[alert + 1]]
        if slot == NOWHERE or len(packet) == 0:
            continue
        own, count = points[slot], _bounded(counts[slot], points.shape[1])
        _mark_common(own[:count], packet, in_packet)
        while used + count > len(brought):
            brought = _doubled(brought)
        before = used
        for k in range(count - 1, -1, -1):
            if not in_packet[k] and own[k].jd <= packet[-1].jd:
                brought[used] = own[k]
                used += 1
        taken[alert] = used - before
        counts[slot] = _learn(own, count, packet)
    return taken, brought[:used]


@njit(cache=True, nogil=True)
def _bounded(count: int, most: int) -> int:
    """A count to index with, whatever a row that came from elsewhere says."""
    return max(0, min(int(count), most))


@njit(cache=True, nogil=True)
def _mark_common(own: Points, packet: Points, common: NDArray[np.bool_]) -> None:
    """Which of an object's own points have the time and band of a detection in the packet."""
    common[: len(own)] = False
    for row in range(len(packet)):
        point = packet[row]
        if not (np.isnan(point.magpsf) or np.isnan(point.sigmapsf)):
            k = _place(own, len(own), point)
            if k < len(own) and _same(own[k], point):
                common[k] = True


@njit(cache=True, nogil=True)
def _learn(own: Points, count: int, packet: Points) -> int:
    """Merge the packet's sound points into an object's own, keep the newest, return how many there are now.

    From the last row to the first, each in the place of what was there: so the first of a packet's duplicates stays.
    """
    room = len(own)
    for row in range(len(packet) - 1, -1, -1):
        point = packet[row]
        if not (_sound(point) and point.jd <= packet[-1].jd):
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
def _sound(point: Any) -> bool:
    """A detection that can't spoil a curve. Of the reference, only the error can: its nulls (NaN) are sound."""
    return bool(
        point.band > 0
        and 1.0 <= point.jd < HUGE
        and abs(point.magpsf) <= LARGEST_MAGNITUDE
        and LEAST_ERROR <= point.sigmapsf <= LARGEST_ERROR
        and not abs(point.sigmagnr) > LARGEST_ERROR
    )


@njit(cache=True, nogil=True)
def _doubled(points: Points) -> Points:
    longer = np.empty(2 * len(points), points.dtype)
    longer[: len(points)] = points
    return longer
