"""From alerts of the stream `lsst` to features: what is worth scoring, and what is remembered of each object."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.columns import Columns
from ...scoring.entities import Entities, Keys
from ...scoring.features.flux import POINT, FluxWindow, flux_curves
from ...scoring.features.history import History
from ...scoring.features.lightcurve import curve_features
from .base import Features, Ints, Stateless
from .lsst_fields import NUMBERS, object_features, window

# Fink's models want all features of a band, and four points have them all.
FEWEST_POINTS = 4
# The community's brokers raised their cut to this on the first public night (babamul): between 0.1 and 0.5 it was full
# of badly subtracted stars.
MIN_RELIABILITY = 0.5
# Ids of objects in the solar system, apart from those of all others: ids have 63 bits.
SOLAR_SYSTEM = np.uint64(1 << 63)
# In order of importance; an alert is counted under the first that holds.
UNSCORED_REASONS = ("gated", "no_flux", "malformed", "too_few_points", "warming")


@dataclass(frozen=True)
class Rules:
    """What is worth scoring, and from what.

    min_reliability: the gate; an alert without the value passes (0 switches it off). min_points: a band with fewer is
    missing (from 1; four have all features, fewer only some). forced: whether forced photometry is part of the curves.
    """

    min_reliability: float = MIN_RELIABILITY
    min_points: int = FEWEST_POINTS
    forced: bool = True

    def passes(self, columns: Columns) -> NDArray[np.bool_]:
        """bool[n]: the alerts past the gate."""
        return ~(columns.number("diaSource.reliability") < self.min_reliability)

    def compute(self, columns: Columns, windows: Callable[[Ints], FluxWindow]) -> Features:
        """Features of the alerts past the gate with at least one band of enough points; other bands are missing.

        Where the window has too few points, but the diaObject's statistics are of enough, they stand in.
        windows: the flux windows of these rows, which are in order.
        """
        gated = ~self.passes(columns)
        rows = np.flatnonzero(~gated)
        curves = curve_features(flux_curves(windows(rows), NUMBERS))
        enough = curves.detections >= self.min_points
        stated = object_features(columns.take(rows), max(self.min_points, FEWEST_POINTS))
        values = np.where(enough[:, :, None], curves.values, stated)
        values[curves.malformed] = np.nan
        scorable = ~np.isnan(values).all(axis=(1, 2))
        empty = ~scorable & ~(curves.detections > 0).any(axis=1)
        malformed = ~scorable & ~empty & curves.malformed.any(axis=1)
        poor = ~scorable & ~empty & ~malformed
        counts = (int(one.sum()) for one in (gated, empty, malformed, poor))
        return Features(
            rows[scorable],
            values[scorable].reshape(-1, values.shape[1] * values.shape[2]),
            dict(zip(UNSCORED_REASONS, counts, strict=False)),
        )


class LsstState(Stateless):
    """Light-curve features in packet mode. Satisfies `State`."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def features(self, columns: Columns) -> Features:
        """Each alert's from its own packet."""
        return self.rules.compute(columns, lambda rows: window(columns.take(rows), self.rules.forced))


class LsstHistoryState:
    """Light-curve features in state mode. Satisfies `State`.

    Alerts that fail the gate, or belong to no object, are nobody's: neither they nor their history are remembered.
    """

    keys_per_event = 1

    def __init__(self, rules: Rules, capacity: int, lifetime: int, points: int) -> None:
        self.rules = rules
        # A secret salt, in case strangers choose the ids: `KeyedState` says why.
        self.history = History(capacity, points=points, lifetime=lifetime, salt=secrets.randbits(64), point=POINT)
        self.entities: Entities | None = self.history.entities

    @property
    def state_bytes(self) -> int:
        """Memory that the remembered objects take."""
        return self.history.state_bytes

    def keys(self, columns: Columns) -> Keys:
        """The objects of the alerts that pass the gate, 0 where there is none."""
        return np.where(self.rules.passes(columns), object_keys(columns), np.uint64(0))

    def features(self, columns: Columns) -> Features:
        """Each alert's from its own packet and what was remembered of its object before it."""
        keys = self.keys(columns)
        return self.rules.compute(
            columns, lambda rows: self.history.remember(window(columns.take(rows), self.rules.forced), keys[rows])
        )

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """Nothing: all is remembered by object."""
        return {}

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Nothing to restore."""


def object_keys(columns: Columns) -> Keys:
    """uint64[n]: the object, else the one of the solar system; a source that belongs to neither is nobody's, 0."""
    dia, solar = (columns.integer(f"diaSource.{name}") for name in ("diaObjectId", "ssObjectId"))
    keys = np.zeros(len(columns), np.uint64)
    keys[solar > 0] = solar[solar > 0].astype(np.uint64) | SOLAR_SYSTEM
    keys[dia > 0] = dia[dia > 0].astype(np.uint64)
    return keys
