"""The features of generic.py, event by event: what each is, and how an entity's row and the value counts learn.

Every part reads the state before the event, writes its features, and only then lets the state learn the event. A row is
plain words of 64 bits, laid out by the numbers of half-lives, numbers and novelties, so that one compiled kernel serves
every stream; all zero is a new entity. Nothing infinite or missing enters a mean, and nothing finite can make one so.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..keyed import NOWHERE, Slots, touch

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Ints = NDArray[np.int64]

DAY = 86_400.0  # s
# As in behaviour_kernel.py: an event up to this late counts as of its own time, one that is later still is believed.
LATENESS = DAY
LAST_TIME = 1e11  # s, the year 5138: times beyond ±this are no times
MEMORY = 1 / 64  # weight of the newest of many observations, for the z-score
NEUTRAL_BELOW = 3  # observations, before an entity's own mean says anything
WINSOR_FROM, WINSOR_SD = 5, 3.0  # from 5 observations on, the z-score's mean learns nothing beyond 3 deviations
Z_LIMIT, RATIO_LIMIT = 20.0, 1000.0
RELATIVE_RESOLUTION = 0.05  # of the mean: for who always pays the same, 5 % more is one standard deviation
HUGE = 1e30  # numbers beyond ±this are learnt as ±this: a sum of 2^62 of them is 5e48, its square far from infinite
HALF = 0.5  # labels that say nothing: one fraud among one is not yet a risk of 1
# What an excess counts of one event: beyond 5 standard deviations more is no worse, and less than usual is no excess.
EXCESS_LIMIT = 5.0
FORGOTTEN = 1e-9  # decayed observations, 30 half-lives after the last one: a mean of so little is none

# Half of a value's count is forgotten after so many events: habits of a whole stream change, but slowly.
RARITY_DECAY = math.log(2) / 100_000
RARITY_STEP = math.exp(-RARITY_DECAY)

# A row: when the last event was, how many had a time, decayed events; then each number; then labels; then the recent
# values.
LAST, TIMED, RATES = 0, 1, 2
SEEN, MEAN, VARIANCE, DECAYED = 0, 1, 2, 3  # of a number: then decayed observations and sums, and decayed excesses
SHARES = (0.5, 0.2)  # weight of the newest label in the shares of anomalies among the last ones
TOLD, SINCE, FIRST_SHARE = 0, 1, 2  # of a streak: 0 = no label, 1 = ordinary, 2 = anomaly; since when; the shares
STREAK_WORDS = FIRST_SHARE + len(SHARES)
STREAK = len(SHARES) + 1  # features


class Shape(NamedTuple):
    """Sizes: entities of an event, numbers, half-lives, novelties, values remembered of each, and of the groups of
    features that need memory of their own."""

    entities: int
    numbers: int
    half_lives: int
    novelties: int
    remembered: int
    risks: int  # as many as half-lives where there are labels, else 0
    excesses: int  # as many as half-lives where they are wanted, else 0
    streaks: int  # `STREAK` where they are wanted and there are labels, else 0


@njit(cache=True, nogil=True)
def width(shape: Shape) -> int:
    """Words of a row."""
    return _recent(shape) + shape.novelties * shape.remembered


@njit(cache=True, nogil=True)
def _risks(shape: Shape) -> int:
    """Where what labels taught begins: LAST and TIMED of labels, then decayed anomalies and labels."""
    return RATES + shape.half_lives + shape.numbers * _number(shape)


@njit(cache=True, nogil=True)
def _number(shape: Shape) -> int:
    """Words of a number."""
    return DECAYED + 2 * shape.half_lives + shape.excesses


@njit(cache=True, nogil=True)
def _streak(shape: Shape) -> int:
    """Where what the last labels said begins."""
    return _risks(shape) + (RATES + 2 * shape.risks if shape.risks > 0 else 0)


@njit(cache=True, nogil=True)
def _recent(shape: Shape) -> int:
    """Where the recent values begin."""
    return _streak(shape) + (STREAK_WORDS if shape.streaks > 0 else 0)


@njit(cache=True, nogil=True)
def columns_of(shape: Shape) -> int:
    """Features of one entity: time since the last, events, of each number its means, sums, z-score, ratio and excesses,
    risks, what the last labels said."""
    return 1 + shape.half_lives + shape.numbers * _columns(shape) + shape.risks + shape.streaks


@njit(cache=True, nogil=True)
def _columns(shape: Shape) -> int:
    """Features of one number of one entity."""
    return 2 * shape.half_lives + 2 + shape.excesses


@njit(cache=True, nogil=True)
def entity_rows(
    slots: Slots,
    floats: Floats,
    words: Words,
    shape: Shape,
    decay: Floats,
    resolution: Floats,
    keys: Words,
    time: Floats,
    numbers: Floats,
    novelties: Words,
    labels: Floats,
    matrix: Floats,
) -> None:
    """Fill matrix[n, entities * columns_of + novelties] and let the rows learn.

    labels [n]: NaN is an event; 1 and 0 are what is now known of an earlier one, and teach nothing but risks: their
    rows of the matrix are NaN. floats and words are the same memory; keys [n, entities] and novelties [n, novelties]
    are hashes, 0 = null.
    """
    each = columns_of(shape)
    for event in range(len(keys)):
        now = time[event] if abs(time[event]) <= LAST_TIME else math.nan
        for kind in range(shape.entities):
            row = matrix[event, kind * each : (kind + 1) * each]
            new = matrix[event, shape.entities * each :]
            slot, fresh = touch(slots, keys[event, kind])
            if slot == NOWHERE:
                row[:] = math.nan
                if kind == 0:
                    new[:] = math.nan
                continue
            if fresh:
                floats[slot] = 0.0
            known = floats[slot, _risks(shape) : _streak(shape)]
            streak = floats[slot, _streak(shape) : _recent(shape)]
            if not math.isnan(labels[event]):
                row[:] = math.nan
                if kind == 0:
                    new[:] = math.nan
                if shape.risks > 0:
                    _learn_label(known, decay, now, labels[event])
                if shape.streaks > 0:
                    _learn_streak(streak, now, labels[event])
                continue
            if shape.risks > 0:
                _risk(known, decay, now, row[each - shape.risks - shape.streaks :])
            if shape.streaks > 0:
                _tell_streak(streak, now, row[each - shape.streaks :])
            _entity(floats[slot], shape, decay, resolution, now, numbers[event], row)
            if kind == 0:
                recent = words[slot, _recent(shape) :]
                for k in range(shape.novelties):
                    new[k] = _new(recent[k * shape.remembered : (k + 1) * shape.remembered], novelties[event, k])


@njit(cache=True, nogil=True)
def _entity(own: Floats, shape: Shape, decay: Floats, resolution: Floats, now: float, values: Floats, row: Floats):  # type: ignore[no-untyped-def]
    """One entity: its pace, and each number against what was before."""
    ahead = now - own[LAST] if own[TIMED] > 0 else math.nan  # NaN, too, if this event has no time
    late = -ahead if -LATENESS <= ahead < 0.0 else 0.0
    elapsed = ahead if ahead > 0.0 else 0.0
    row[0] = math.nan if math.isnan(ahead) else math.log1p(elapsed)
    half_lives = shape.half_lives
    each, columns = _number(shape), _columns(shape)
    for h in range(half_lives):
        kept, weight = math.exp(-elapsed * decay[h]), math.exp(-late * decay[h])
        count = own[RATES + h] * kept
        row[1 + h] = count
        own[RATES + h] = count + weight
        for n in range(shape.numbers):
            at = RATES + half_lives + n * each + DECAYED + 2 * h
            count, total = own[at] * kept, own[at + 1] * kept
            place = 1 + half_lives + n * columns + 2 * h
            if shape.excesses > 0:
                excess = own[at + 2 * (half_lives - h) + h] * kept
                row[place + 2 * (half_lives - h) + 2 + h] = excess / (count + HALF)
                own[at + 2 * (half_lives - h) + h] = excess
            row[place] = total / count if count > FORGOTTEN else math.nan
            row[place + 1] = total
            if math.isfinite(values[n]):
                count, total = count + weight, total + weight * min(max(values[n], -HUGE), HUGE)
            own[at], own[at + 1] = count, total
    for n in range(shape.numbers):
        place = 1 + half_lives + n * columns + 2 * half_lives
        _history(own[RATES + half_lives + n * each :], resolution[n], values[n], row[place : place + 2])
        if shape.excesses > 0 and row[place] > 0.0:
            for h in range(half_lives):
                weight = math.exp(-late * decay[h])
                own[RATES + half_lives + n * each + DECAYED + 2 * half_lives + h] += weight * min(
                    row[place], EXCESS_LIMIT
                )
    if not math.isnan(now):
        own[TIMED] += 1
        if late == 0.0:
            own[LAST] = now


@njit(cache=True, nogil=True)
def _risk(known: Floats, decay: Floats, now: float, row: Floats) -> None:
    """The decayed share of anomalies among what is known of the entity; half a label more that says nothing."""
    ahead = now - known[LAST] if known[TIMED] > 0 else math.nan
    elapsed = ahead if ahead > 0.0 else 0.0
    for h in range(len(decay)):
        kept = math.exp(-elapsed * decay[h])
        row[h] = known[RATES + 2 * h] * kept / (known[RATES + 2 * h + 1] * kept + HALF)


@njit(cache=True, nogil=True)
def _learn_label(known: Floats, decay: Floats, now: float, label: float) -> None:
    ahead = now - known[LAST] if known[TIMED] > 0 else math.nan
    late = -ahead if -LATENESS <= ahead < 0.0 else 0.0
    elapsed = ahead if ahead > 0.0 else 0.0
    for h in range(len(decay)):
        kept, weight = math.exp(-elapsed * decay[h]), math.exp(-late * decay[h])
        known[RATES + 2 * h] = known[RATES + 2 * h] * kept + weight * label
        known[RATES + 2 * h + 1] = known[RATES + 2 * h + 1] * kept + weight
    if not math.isnan(now):
        known[TIMED] += 1
        if late == 0.0:
            known[LAST] = now


@njit(cache=True, nogil=True)
def _tell_streak(streak: Floats, now: float, row: Floats) -> None:
    """Shares of anomalies among the last labels; and since when all were alike, d, negative = ordinary."""
    for share in range(len(SHARES)):
        row[share] = streak[FIRST_SHARE + share]
    row[len(SHARES)] = math.nan
    if streak[TOLD] > 0:
        days = max(now - streak[SINCE], 0.0) / DAY if not math.isnan(now) else math.nan
        row[len(SHARES)] = days if streak[TOLD] > 1 else -days


@njit(cache=True, nogil=True)
def _learn_streak(streak: Floats, now: float, label: float) -> None:
    if math.isnan(now):
        return
    if streak[TOLD] != 1.0 + label:
        streak[TOLD], streak[SINCE] = 1.0 + label, now
    for share in range(len(SHARES)):
        streak[FIRST_SHARE + share] += SHARES[share] * (label - streak[FIRST_SHARE + share])


@njit(cache=True, nogil=True)
def _history(own: Floats, resolution: float, value: float, row: Floats) -> None:
    """The z-score and the ratio to the entity's own exponentially weighted mean; 0 and 1 while it has few.

    While few, all observations weigh the same: mean and variance are then the plain ones (West 1979; Finch 2009).
    """
    if not math.isfinite(value):
        row[0], row[1] = math.nan, math.nan
        return
    value = min(max(value, -HUGE), HUGE)
    mean = own[MEAN]
    relative = RELATIVE_RESOLUTION * mean
    spread = math.sqrt(own[VARIANCE] + resolution * resolution + relative * relative)
    row[0], row[1] = 0.0, 1.0
    if own[SEEN] >= NEUTRAL_BELOW:
        if spread > 0.0:
            row[0] = min(max((value - mean) / spread, -Z_LIMIT), Z_LIMIT)
        elif value != mean:  # nothing but zeros so far
            row[0] = Z_LIMIT if value > mean else -Z_LIMIT
        base = max(mean, resolution)
        if base > 0.0:
            row[1] = min(max(value / base, -RATIO_LIMIT), RATIO_LIMIT)
    if own[SEEN] >= WINSOR_FROM and spread > 0.0:  # a compromised card must not move its own baseline
        value = min(max(value, mean - WINSOR_SD * spread), mean + WINSOR_SD * spread)
    own[SEEN] += 1
    weight = max(1.0 / own[SEEN], MEMORY)
    change = value - mean
    own[MEAN] = mean + weight * change
    own[VARIANCE] = (1.0 - weight) * (own[VARIANCE] + weight * change * change)


@njit(cache=True, nogil=True)
def _new(recent: Words, value: np.uint64) -> float:
    """1 if the value isn't among the last distinct ones, 0 if it is, or is the first; it becomes the newest."""
    if value == 0:
        return math.nan
    last = len(recent) - 1
    place = 0
    while place < last and recent[place] != value and recent[place] != 0:
        place += 1
    flag = 1.0 if recent[place] != value and recent[0] != 0 else 0.0
    for older in range(place, 0, -1):
        recent[older] = recent[older - 1]
    recent[0] = value
    return flag


@njit(cache=True, nogil=True)
def rarity(slots: Slots, counts: Floats, last: Ints, totals: Floats, values: Words, out: Floats) -> None:
    """Surprise of one category's values in bits, log2((total + 1) / (count + 1)), with counts that fade; then learn.

    counts, last: of each slot, the faded count after its last event, and which one that was. totals [2]: the faded
    count of all, and how many there were. The least recently seen value is forgotten where there is no more room.
    """
    for event in range(len(values)):
        slot, fresh = touch(slots, values[event])
        if slot == NOWHERE:
            out[event] = math.nan
            continue
        total, number = totals[0], np.int64(totals[1])
        count = 0.0 if fresh else counts[slot] * math.exp(-(number - last[slot] - 1) * RARITY_DECAY)
        out[event] = math.log2((total + 1.0) / (count + 1.0))
        counts[slot], last[slot] = count * RARITY_STEP + 1.0, number
        totals[0], totals[1] = total * RARITY_STEP + 1.0, number + 1
