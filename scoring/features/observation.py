"""Features of an observatory's product records: what a record says, and the rules that a true one can't break.

FEATURES, in order (UNITS beside it):

- `s_ra`, `s_dec`, and `solar_elongation`: how far from the Sun the telescope pointed when the observation began;
- `log_exposure`, `log_span` (t_max - t_min), `release_lag` (t_obs_release - t_max): sign(x) ln(1 + |x|), in s, s, d;
- `exposure_share` of the span;
- `log_em_min`, `log_em_max`, `log_em_ratio` of the band's edges;
- the rules, 1 = broken, 0 = kept, NaN = nothing to judge by:
  `rule_coordinates` in range; `rule_times`, t_max not before t_min; `rule_release`, the observation not after its
  release; `rule_elongation`, within the field of regard; `rule_exposure`, not longer than its span;
  `rule_wavelength`, band edges as this instrument mode and filter have them.

The last two know the modes, pairs of instrument and filter, from the records themselves: nothing is built in that a new
filter, or an archive with another convention, would make wrong. What is missing (a planned observation has no times)
is NaN and judged by nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..errors import ModelError
from ..keyed import NOWHERE, KeyedState, read_array, touch

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

NUMBERS = ("s_ra", "s_dec", "t_min", "t_max", "t_exptime", "em_min", "em_max", "t_obs_release")

_FEATURE_UNITS = {
    "s_ra": "deg",
    "s_dec": "deg",
    "solar_elongation": "deg",
    "log_exposure": "ln s",
    "log_span": "ln s",
    "exposure_share": "1",
    "release_lag": "ln d",
    "log_em_min": "ln nm",
    "log_em_max": "ln nm",
    "log_em_ratio": "1",
    "rule_coordinates": "1",
    "rule_times": "1",
    "rule_release": "1",
    "rule_elongation": "1",
    "rule_exposure": "1",
    "rule_wavelength": "1",
}
FEATURES = tuple(_FEATURE_UNITS)
UNITS = tuple(_FEATURE_UNITS.values())

SECONDS_A_DAY = 86_400.0
J2000 = 51_544.5  # MJD
# The sunshield allows 85 to 135 degrees. The Sun moves 1 degree a day and is known here to 0.01; the margin is for
# observations of half a day, and for pointings given for their target.
ELONGATION = (84.5, 135.5)
# Some archives give the release as a date, without the hour.
RELEASE_TOLERANCE = 1.0  # days
# Rounding of MJD to 8 decimals is 1 ms; clocks of detectors and of the spacecraft differ by up to a readout.
EXPOSURE_SHARE, EXPOSURE_EXTRA = 1.001, 2.0  # 1, s
BAND_TOLERANCE = 1.0  # nm: catalogues round to this
# JWST has about 110 pairs in use. The least recently seen is forgotten first.
MODES = 1_024
# So many more votes for a band than against it before it counts as known.
KNOWN = 2
# A rule that a third of a mode's latest records break (mean over about 16) is wrong about the mode, and then silent.
OVER_WEIGHT, OVER_LIMIT = 1 / 16, 1 / 3
MODE = np.dtype([("em_min", np.float64), ("em_max", np.float64), ("votes", np.int64), ("over", np.float64)])
MOST_VOTES = 64  # so that a mode whose band has changed for good is relearned after this many records


class ObservationFeatures:
    """The features of one partition's records, and the modes it has seen: at most 1,024 of 48 bytes.

    Rows depend on the records and their order, never on how they are cut into batches. For `salt` see `KeyedState`.

    >>> features = ObservationFeatures()
    >>> record = [150.1, 2.4, 60_650.0, 60_650.1, 8_000.0, 1_755.0, 2_226.0, 61_015.0]
    >>> numbers = np.array([record, record, record, [*record[:5], 1_700.0, 2_226.0, 61_015.0]])
    >>> features.compute(numbers, np.full(4, 7, np.uint64))[:, FEATURES.index("rule_wavelength")].tolist()
    [nan, nan, 0.0, 1.0]
    """

    def __init__(self, salt: int = 0) -> None:
        self._salt = salt
        self._modes = KeyedState(MODES, salt)
        self._modes.reserve(MODES)
        self._rows = np.zeros(MODES, MODE)

    @property
    def state_bytes(self) -> int:
        """Memory of the state, bytes."""
        return self._modes.state_bytes + self._rows.nbytes

    def compute(self, numbers: Floats, modes: Keys) -> Floats:
        """The features float64[n, 16] of records: `numbers` float64[n, 8] as in NUMBERS, NaN = missing; modes uint64[n]
        hashes of instrument and filter, 0 = unknown. Each from what came before it; then learned.
        """
        ra, dec, begin, end, exposure, em_min, em_max, release = numbers.T
        with np.errstate(all="ignore"):  # absurd values may overflow; what isn't finite counts as missing
            span, elongation = (end - begin) * SECONDS_A_DAY, solar_elongation(ra, dec, begin)
            fits = (exposure >= 0) & (exposure <= EXPOSURE_SHARE * span + EXPOSURE_EXTRA)
            over = _rule(fits, exposure, span)
            wrong = np.full(len(numbers), np.nan)
            _judge(self._modes.slots, self._rows, modes, np.stack([em_min, em_max]), over, wrong)
            return np.column_stack(
                [
                    ra,
                    dec,
                    elongation,
                    _signed_log(exposure),
                    _signed_log(span),
                    exposure / span,
                    _signed_log(release - end),
                    _signed_log(em_min),
                    _signed_log(em_max),
                    np.log(em_max / em_min),
                    _rule((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90), ra, dec),
                    _rule(end >= begin, begin, end),
                    _rule(np.fmax(begin, end) <= release + RELEASE_TOLERANCE, np.fmax(begin, end), release),
                    _rule((elongation >= ELONGATION[0]) & (elongation <= ELONGATION[1]), elongation),
                    over,
                    wrong,
                ]
            )

    def shared(self) -> dict[str, NDArray[Any]]:
        """The state as plain arrays, the least recently seen mode first."""
        rows = self._rows[self._modes.order()]
        fields = {f"modes_{name}": np.ascontiguousarray(rows[name]) for name in MODE.names or ()}
        return {**self._modes.to_arrays("modes_"), **fields}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave, copied. Raises ModelError, naming the array, if anything is amiss."""
        modes = KeyedState.from_arrays(arrays, "modes_", self._salt)
        if modes.capacity != MODES:
            raise ModelError(f"should be {MODES}: save the state again", where="modes_capacity")
        modes.reserve(MODES)
        rows = np.zeros(MODES, MODE)
        most_nm = float(np.finfo(np.float64).max)
        edge = (-most_nm, most_nm)
        bounds = {"em_min": edge, "em_max": edge, "votes": (0.0, float(MOST_VOTES)), "over": (0.0, 1.0)}
        for name, (least, most) in bounds.items():
            known = read_array(arrays, f"modes_{name}", MODE[name], (modes.tracked,), least, most)
            rows[name][: modes.tracked] = known
        self._modes, self._rows = modes, rows


def solar_elongation(ra: Floats, dec: Floats, mjd: Floats) -> Floats:
    """Angle between a place on the sky and the Sun, deg, float64[n], from degrees and MJD (UTC).

    The Sun's low-precision position of the Astronomical Almanac, good to 0.01 degree from 1950 to 2050.

    >>> equinox = np.array([60_389.129])  # 2024-03-20T03:06: the Sun stands at the origin of right ascension
    >>> solar_elongation(np.array([90.0]), np.array([0.0]), equinox).round(1).tolist()
    [90.0]
    """
    days = mjd - J2000
    anomaly = np.radians(357.528 + 0.9856003 * days)
    longitude = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439)
    x, y, z = np.cos(longitude), np.cos(obliquity) * np.sin(longitude), np.sin(obliquity) * np.sin(longitude)
    alpha, delta = np.radians(ra), np.radians(dec)
    cosine = np.cos(delta) * (x * np.cos(alpha) + y * np.sin(alpha)) + z * np.sin(delta)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))), np.float64)


def _signed_log(value: Floats) -> Floats:
    return np.asarray(np.copysign(np.log1p(np.abs(value)), value), np.float64)


def _rule(kept: NDArray[np.bool_], *needed: Floats) -> Floats:
    """1 where a rule is broken, NaN where a value that it needs is missing."""
    missing = np.isnan(np.stack(needed)).any(axis=0)
    return np.where(missing, np.nan, np.where(kept, 0.0, 1.0))


@njit(cache=True, nogil=True)
def _judge(slots, rows, modes, edges, over, wrong):  # type: ignore[no-untyped-def]
    """Record by record, by what its mode has shown before: silences `over`, fills `wrong`; then learns the record.

    A mode's band is voted for (Boyer & Moore 1991): right as long as most records are, however the others err.
    """
    for i in range(len(modes)):
        slot, fresh = touch(slots, modes[i])
        if slot == NOWHERE:
            continue
        mode = rows[slot]
        if fresh:
            mode.em_min, mode.em_max, mode.votes, mode.over = 0.0, 0.0, 0, 0.0
        if not np.isnan(over[i]):
            too_long = over[i]
            if mode.over > OVER_LIMIT:
                over[i] = 0.0
            mode.over += OVER_WEIGHT * (too_long - mode.over)
        low, high = edges[0, i], edges[1, i]
        if np.isnan(low) or np.isnan(high):
            continue
        same = abs(low - mode.em_min) <= BAND_TOLERANCE and abs(high - mode.em_max) <= BAND_TOLERANCE
        if mode.votes >= KNOWN:
            wrong[i] = 0.0 if same else 1.0
        if mode.votes == 0:
            mode.em_min, mode.em_max, mode.votes = low, high, 1
        elif same:
            mode.votes = min(mode.votes + 1, MOST_VOTES)
        else:
            mode.votes -= 1
