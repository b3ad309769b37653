"""The features of behaviour.py, event by event: what each is, and how a user's row and the value counts learn.

Every part reads the state before the event, writes its features, and only then lets the state learn the event. Nothing
infinite or missing enters a running mean, and nothing finite can make one infinite.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..keyed import NOWHERE, Slots, add, find, touch

_NUMBER_UNITS = {
    "time_on_page": "s",
    "clicks_count": "count",
    "scroll_count": "count",
    "form_submissions": "count",
    "page_views": "count",
    "session_duration": "s",
    "bounce_rate": "1",
    "conversion_rate": "1",
    "avg_session_duration": "s",
    "click_events": "count",
    "scroll_events": "count",
    "touch_events": "count",
    "keyboard_events": "count",
    "device_motion": "arbitrary",
    "timezone_offset": "min",
    "transaction_amount": "currency",
    "mouse_movement": "count",
}
NUMBERS = tuple(_NUMBER_UNITS)
CATEGORIES = ("device_type", "screen_size", "browser_info", "language", "device_orientation", "geolocation_city")

# Numbers with a history for each user, and the least difference that means anything: a second, a click, a cent.
RESOLUTION = {
    "time_on_page": 1.0,
    "clicks_count": 1.0,
    "page_views": 1.0,
    "session_duration": 1.0,
    "click_events": 1.0,
    "keyboard_events": 1.0,
    "transaction_amount": 0.01,
    "mouse_movement": 1.0,
}
TRACKED = tuple(RESOLUTION)
RATIOS = ("transaction_amount", "time_on_page")
# What is much in ten seconds is little in ten minutes.
PACES = {
    "clicks_per_second": "click_events",
    "mouse_per_second": "mouse_movement",
    "amount_per_second": "transaction_amount",
}
NEW = {"new_device": "device_type", "new_city": "geolocation_city", "new_browser": "browser_info"}

_FEATURE_UNITS = {
    **_NUMBER_UNITS,
    **{f"{category}_rarity": "bit" for category in CATEGORIES},
    "hour_of_day": "h",
    **{pace: f"{_NUMBER_UNITS[number]}/s" for pace, number in PACES.items()},
    "hour_distance": "1",  # from here on: against the user's own history, missing without a user
    "events_1h": "count",
    "events_24h": "count",
    "log_seconds_since_last": "ln s",
    **{f"{number}_z": "standard deviation" for number in TRACKED},
    **{f"{number}_ratio": "1" for number in RATIOS},
    **{flag: "0 or 1" for flag in NEW},
}
FEATURES: tuple[str, ...] = tuple(_FEATURE_UNITS)
UNITS: tuple[str, ...] = tuple(_FEATURE_UNITS.values())

# Where each group begins, and which input each of its features is made of; plain integers, as numba wants them.
_RARITY = FEATURES.index(f"{CATEGORIES[0]}_rarity")
_HOUR = FEATURES.index("hour_of_day")
_PACE = FEATURES.index(next(iter(PACES)))
_HOUR_DISTANCE = FEATURES.index("hour_distance")
_RATE = FEATURES.index("events_1h")
_SINCE_LAST = FEATURES.index("log_seconds_since_last")
_Z = FEATURES.index(f"{TRACKED[0]}_z")
_RATIO = FEATURES.index(f"{RATIOS[0]}_ratio")
_NEW = FEATURES.index(next(iter(NEW)))
_PACE_NUMBER = tuple(NUMBERS.index(number) for number in PACES.values())
_TIME_ON_PAGE = NUMBERS.index("time_on_page")
_TRACKED_NUMBER = tuple(NUMBERS.index(number) for number in TRACKED)
_TRACKED_RESOLUTION = tuple(RESOLUTION.values())
_RATIO_TRACKED = tuple(TRACKED.index(number) for number in RATIOS)
_RECENT_CATEGORY = tuple(CATEGORIES.index(category) for category in NEW.values())

DAY = 86_400.0  # s
DECAY = (math.log(2) / 3600.0, math.log(2) / DAY)  # 1/s: half-lives of 1 h and 24 h
SHORTEST = 1.0  # s: times on a page are often whole seconds, and a page left at once isn't one left infinitely fast
# An event up to this late counts as of its own time. One that is later still shows that the last one's time was wrong,
# and is believed: a single date in the far future must not stop a user's clock until then.
LATENESS = DAY
LAST_TIME = 1e11  # s, the year 5138: times beyond ±this are no times; their differences stay exact to 0.1 ms

# Weight of the newest of many observations: a half-life of 44. On simulated card payments, whose habits never change,
# the z-score's AUC for compromised cards is .939 at 1/32, .950 at 1/64, .952 without forgetting; real habits do change.
MEMORY = 1 / 64
NEUTRAL_BELOW = 3  # observations, before a user's own mean says anything
WINSOR_FROM, WINSOR_SD = 5, 3.0  # from 5 observations on, a mean learns nothing beyond 3 standard deviations
Z_LIMIT = 20.0  # a z-score is clipped to ±this
RATIO_LIMIT = 1000.0  # and a ratio to ±this
RELATIVE_RESOLUTION = 0.05  # of the mean: for someone who always pays the same, 5 % more is one standard deviation
HUGE = 1e30  # numbers beyond ±this are learnt as ±this: the largest square is then (2e30)² = 4e60, far from infinite

RECENT_KEPT = 8  # distinct values remembered for each user and category
# Distinct values counted for each category, on its own, so that made-up screen sizes can't crowd out the cities.
VALUES_KEPT = 4096
# 2^64 / golden ratio: hashes XOR its multiples keep equal values of two categories apart in their common table.
_CATEGORY_SALT = np.uint64(0x9E3779B97F4A7C15)

# One user; all zero for a new one.
USER = np.dtype(
    [
        ("last_time", np.float64),  # s since the epoch; means nothing while timed is 0
        ("rate", np.float64, (len(DECAY),)),  # decayed counts of events, as of last_time
        ("timed", np.int64),  # events that had a time
        ("hour", np.float64, (2,)),  # decayed mean of (sin, cos) of the hour angle
        ("seen", np.int64, (len(TRACKED),)),  # observations of each tracked number
        ("mean", np.float64, (len(TRACKED),)),
        ("variance", np.float64, (len(TRACKED),)),
        ("recent", np.uint64, (len(_RECENT_CATEGORY), RECENT_KEPT)),  # last distinct values, the newest first; 0 = none
    ]
)


@njit(cache=True, nogil=True)
def behaviour_rows(
    slots: Slots,
    users: NDArray[np.void],
    value_slots: Slots,
    value_counts: NDArray[np.int64],
    totals: NDArray[np.int64],
    kept: NDArray[np.int64],
    user: NDArray[np.uint64],
    time: NDArray[np.float64],
    numbers: NDArray[np.float64],
    categories: NDArray[np.uint64],
    matrix: NDArray[np.float64],
) -> None:
    """Fill matrix[n, len(FEATURES)] and let the state learn; `behaviour.BehaviourFeatures` owns the arrays."""
    for event in range(len(user)):
        row = matrix[event]
        for number in range(len(NUMBERS)):
            row[number] = numbers[event, number] if math.isfinite(numbers[event, number]) else math.nan
        _rarity(value_slots, value_counts, totals, kept, categories[event], row)
        now = time[event] if abs(time[event]) <= LAST_TIME else math.nan
        row[_HOUR] = now % DAY / 3600.0
        for pace in range(len(_PACE_NUMBER)):
            row[_PACE + pace] = row[_PACE_NUMBER[pace]] / max(row[_TIME_ON_PAGE], SHORTEST)

        slot, fresh = touch(slots, user[event])
        if slot == NOWHERE:
            row[_HOUR_DISTANCE:] = math.nan
            continue
        own = users[slot]
        if fresh:
            _forget(own)
        _pace(own, now, row)
        _habit(own, row)
        _ratios(own, row)
        _z_scores(own, row)
        _novelty(own, categories[event], row)


@njit(cache=True, nogil=True)
def _rarity(
    slots: Slots,
    counts: NDArray[np.int64],
    totals: NDArray[np.int64],
    kept: NDArray[np.int64],
    values: NDArray[np.uint64],
    row: NDArray[np.float64],
) -> None:
    """How rare each value is in this partition, bits: 0 if it is the only one so far, log2(total + 1) if it is new."""
    for category in range(len(CATEGORIES)):
        if values[category] == 0:
            row[_RARITY + category] = math.nan
            continue
        key = values[category] ^ (np.uint64(category) * _CATEGORY_SALT)
        slot = find(slots, key)
        if slot == NOWHERE and kept[category] < VALUES_KEPT:
            slot = add(slots, key)
            if slot != NOWHERE:
                kept[category] += 1
        count = counts[slot] if slot != NOWHERE else 0
        row[_RARITY + category] = math.log2((totals[category] + 1) / (count + 1))
        totals[category] += 1
        if slot != NOWHERE:
            counts[slot] = count + 1


@njit(cache=True, nogil=True)
def _forget(own: Any) -> None:
    """Clear a user's row for a new user."""
    own.last_time = 0.0
    own.rate[:] = 0.0
    own.timed = 0
    own.hour[:] = 0.0
    own.seen[:] = 0
    own.mean[:] = 0.0
    own.variance[:] = 0.0
    own.recent[:, :] = 0


@njit(cache=True, nogil=True)
def _pace(own: Any, now: float, row: NDArray[np.float64]) -> None:
    """Decayed counts of the events so far, and the time since the last, 0 for a late event.

    A late event adds what is left of it at `last_time`, so that afterwards the counts are those of the sorted stream.
    """
    ahead = now - own.last_time if own.timed > 0 else math.nan  # NaN, too, if this event has no time
    late = -ahead if -LATENESS <= ahead < 0.0 else 0.0
    elapsed = ahead if ahead > 0.0 else 0.0
    row[_SINCE_LAST] = math.nan if math.isnan(ahead) else math.log1p(elapsed)
    for k in range(len(DECAY)):
        count = own.rate[k] * math.exp(-elapsed * DECAY[k])
        row[_RATE + k] = count
        own.rate[k] = count + math.exp(-late * DECAY[k])
    if not math.isnan(now) and late == 0.0:
        own.last_time = now


@njit(cache=True, nogil=True)
def _habit(own: Any, row: NDArray[np.float64]) -> None:
    """1 - (this hour · mean hour), vectors on the clock: 0 at the one habitual hour, 2 opposite it, 1 without a habit.

    0 for a new user. Habits are learnt with the weights of `_z_scores`.
    """
    hour = row[_HOUR]
    if math.isnan(hour):
        row[_HOUR_DISTANCE] = math.nan
        return
    angle = hour * (2.0 * math.pi / 24.0)
    sine, cosine = math.sin(angle), math.cos(angle)
    distance = max(0.0, 1.0 - (sine * own.hour[0] + cosine * own.hour[1]))
    row[_HOUR_DISTANCE] = distance if own.timed >= NEUTRAL_BELOW else 0.0
    own.timed += 1
    weight = max(1.0 / own.timed, MEMORY)
    own.hour[0] += weight * (sine - own.hour[0])
    own.hour[1] += weight * (cosine - own.hour[1])


@njit(cache=True, nogil=True)
def _ratios(own: Any, row: NDArray[np.float64]) -> None:
    """A number over the user's mean of it; 1 for a new user. A mean below the resolution counts as the resolution."""
    for j in range(len(RATIOS)):
        k = _RATIO_TRACKED[j]
        value = row[_TRACKED_NUMBER[k]]
        if math.isnan(value):
            row[_RATIO + j] = math.nan
        elif own.seen[k] < NEUTRAL_BELOW:
            row[_RATIO + j] = 1.0
        else:
            ratio = value / max(own.mean[k], _TRACKED_RESOLUTION[k])
            row[_RATIO + j] = min(max(ratio, -RATIO_LIMIT), RATIO_LIMIT)


@njit(cache=True, nogil=True)
def _z_scores(own: Any, row: NDArray[np.float64]) -> None:
    """Distance from the user's exponentially weighted mean in standard deviations; 0 for a new user.

    While few, all observations weigh the same: mean and variance are then the plain ones (West 1979; Finch 2009).
    """
    for k in range(len(TRACKED)):
        value = row[_TRACKED_NUMBER[k]]
        if math.isnan(value):
            row[_Z + k] = math.nan
            continue
        value = min(max(value, -HUGE), HUGE)
        mean, resolution = own.mean[k], _TRACKED_RESOLUTION[k]
        relative = RELATIVE_RESOLUTION * mean
        spread = math.sqrt(own.variance[k] + resolution * resolution + relative * relative)
        z = (value - mean) / spread
        row[_Z + k] = min(max(z, -Z_LIMIT), Z_LIMIT) if own.seen[k] >= NEUTRAL_BELOW else 0.0

        if own.seen[k] >= WINSOR_FROM:  # a compromised account must not move its own baseline
            value = min(max(value, mean - WINSOR_SD * spread), mean + WINSOR_SD * spread)
        own.seen[k] += 1
        weight = max(1.0 / own.seen[k], MEMORY)
        change = value - mean
        own.mean[k] = mean + weight * change
        own.variance[k] = (1.0 - weight) * (own.variance[k] + weight * change * change)


@njit(cache=True, nogil=True)
def _novelty(own: Any, values: NDArray[np.uint64], row: NDArray[np.float64]) -> None:
    """1 if the value isn't among the user's last distinct ones; 0 if it is, or is the first."""
    for k in range(len(_RECENT_CATEGORY)):
        value = values[_RECENT_CATEGORY[k]]
        if value == 0:
            row[_NEW + k] = math.nan
            continue
        recent = own.recent[k]
        place = 0
        while place < RECENT_KEPT - 1 and recent[place] != value and recent[place] != 0:
            place += 1
        row[_NEW + k] = 1.0 if recent[place] != value and recent[0] != 0 else 0.0
        for older in range(place, 0, -1):
            recent[older] = recent[older - 1]
        recent[0] = value
