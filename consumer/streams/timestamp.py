"""ISO 8601 times, as web events write them, to seconds since the epoch, for a whole column at once."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...schemas.columns import Text


def parse_times(text: Text) -> NDArray[np.float64]:
    """float64[n], seconds since 1970-01-01 UTC; NaN where null or not `YYYY-MM-DD[(T| )HH[:MM[:SS[.fraction]]]][Z]`.

    A date without a time is its midnight. Offsets other than Z are not read: events are to be sent in UTC.
    """
    out = np.full(len(text.start), np.nan)
    _parse(text.buffer, text.start, text.length, out)
    return out


@njit(cache=True, nogil=True)
def _number(buffer, at, digits):  # type: ignore[no-untyped-def]
    """The number of exactly `digits` digits at `at`; -1 if one isn't a digit."""
    value = np.int64(0)
    for i in range(at, at + digits):
        digit = np.int64(buffer[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@njit(cache=True, nogil=True)
def _days(year, month, day):  # type: ignore[no-untyped-def]
    """Days since 1970-01-01 in the proleptic Gregorian calendar (years from March, so that leap days come last)."""
    shifted = year - 1 if month <= 2 else year
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


@njit(cache=True, nogil=True)
def _month_length(year, month):  # type: ignore[no-untyped-def]
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@njit(cache=True, nogil=True)
def _parse(buffer, start, length, out):  # type: ignore[no-untyped-def]
    for row in range(len(start)):
        at, end = start[row], start[row] + length[row]
        if length[row] > 0 and buffer[end - 1] == ord("Z"):
            end -= 1
        if end - at < 10 or buffer[at + 4] != ord("-") or buffer[at + 7] != ord("-"):
            continue
        year, month, day = _number(buffer, at, 4), _number(buffer, at + 5, 2), _number(buffer, at + 8, 2)
        if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_length(year, month):
            continue
        seconds = float(_days(year, month, day)) * 86_400.0
        at += 10
        if at < end and buffer[at] != ord("T") and buffer[at] != ord(" "):
            continue
        readable = True
        unit, limit = 3600.0, 24
        for _ in range(3):
            if at >= end:
                break
            separator_is_right = unit == 3600.0 or buffer[at] == ord(":")
            value = _number(buffer, at + 1, 2) if end - at >= 3 else -1
            if not separator_is_right or value < 0 or value >= limit:
                readable = False
                break
            seconds += value * unit
            unit, limit = unit / 60.0, 60
            at += 3
        if readable and at < end:
            if buffer[at] != ord(".") or end - at < 2 or unit > 0.5:
                continue
            fraction, scale = 0.0, 0.1
            for i in range(at + 1, end):
                digit = np.int64(buffer[i]) - 48
                if digit < 0 or digit > 9:
                    readable = False
                    break
                fraction += digit * scale
                scale /= 10.0
            seconds += fraction
        if readable:
            out[row] = seconds
