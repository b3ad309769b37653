"""What a partition remembers of each object's light curve, so that windows reach farther back than one packet does.

ZTF packs 30 days of history. The union of packets goes back to the first one seen, and beyond it by those 30 days.
"""

from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..entities import LIFETIME, Entities, Keys
from ..errors import ModelError
from .history_kernel import Flags, Ints, Points, remember_rows
from .window import POINT, Floats

# A field of the public survey is seen in g and r about every third night: 100 points are 150 nights, about as long as
# a field is well placed in a year. An object takes 5.0 KB, 200,000 of them, `Entities`' usual capacity, 1.0 GB.
POINTS = 100
MOST_POINTS = 1_000  # 50 KB an object; counted in int16


class Windowed(Protocol):
    """What history needs of a window, a data class with `offsets` first: `Window`, `FluxWindow`."""

    point: ClassVar[np.dtype[np.void]]  # one row: its columns' names, `jd` and `band` (an int8, 0 = none) among them

    @property
    def offsets(self) -> Ints:
        """int64[n + 1]: rows offsets[i]:offsets[i + 1] are alert i's, its candidate last."""

    @property
    def jd(self) -> Floats:
        """float64[m], days."""

    @property
    def band(self) -> Ints:
        """int64[m]."""

    def __len__(self) -> int: ...

    def detected(self) -> Flags:
        """bool[m]: rows that have a value."""

    def sound(self) -> Flags:
        """bool[m]: rows that have one which can't spoil a curve."""


W = TypeVar("W", bound=Windowed)


def row_of(points: int, point: np.dtype[np.void] = POINT) -> np.dtype[np.void]:
    """An object's row: how many of its points are used, then the points, the newest first and unused ones all zero."""
    return np.dtype([("count", np.int16), ("points", point, (points,))])


class History:
    """The newest `points` detections of each object of one partition, each time and band once.

    Remembered are detections, from packets given to `remember`. Upper limits are not: they have no magnitude, all they
    do is to make a band `present`, and they would take most of the room. Neither are points that could spoil a curve
    (not finite, magnitudes beyond ±50, errors outside 1e-6 to 1e4, no band) nor those dated after the packet's own
    candidate. Callers leave out alerts that they take for bogus, with all their history: a source that isn't there
    must not enter the curve of one that is.

    Whoever runs this admits every batch to `entities` first; a key that is null (0) or not admitted is known by its
    packet alone. `capacity`, `lifetime`, `salt`: see `Entities`; `point`: what its windows' points are. Raises
    ModelError if `points` is not 1 to 1,000.

    >>> from skimstream.scoring.features.window import Window
    >>> history = History(capacity=10, points=2)
    >>> keys = np.array([7], np.uint64)
    >>> def packet(*jd: float) -> Window:
    ...     one, n = np.ones(len(jd)), len(jd)
    ...     return Window(np.array([0, n]), np.array(jd), one, one, one, one, one, np.ones(n, int), np.ones(n, bool))
    >>> for window in (packet(1.0, 2.0), packet(3.0), packet(2.0, 4.0), packet(5.0)):
    ...     history.entities.admit(keys)
    ...     history.remember(window, keys).jd.tolist()
    [1.0, 2.0]
    [1.0, 2.0, 3.0]
    [3.0, 2.0, 4.0]
    [3.0, 4.0, 5.0]
    """

    def __init__(
        self,
        capacity: int = 200_000,
        *,
        points: int = POINTS,
        lifetime: int = LIFETIME,
        salt: int = 0,
        point: np.dtype[np.void] = POINT,
    ) -> None:
        if not 1 <= points <= MOST_POINTS:
            raise ModelError(f"is {points}: choose 1 to {MOST_POINTS}", where="points")
        self.entities = Entities(capacity, row_of(points, point), lifetime, salt)

    @property
    def state_bytes(self) -> int:
        """Memory of the state, bytes."""
        return self.entities.state_bytes

    def remember(self, window: W, keys: Keys) -> W:
        """Each alert's packet with what is remembered of its object before it; then the packet is remembered, too.

        keys uint64[n]: whose alert it is. The remembered points stand before the packet's rows, oldest first. Of a time
        and band that the packet has detections of, the packet's are the ones in the window, all of them and in their
        order: where a packet lacks nothing, its window is the packet's own to the last bit. Nothing that was observed
        after the candidate is in its window, so a late alert gets the curve as it was. Memory depends on the sequence
        of alerts alone: one object's alerts of one batch learn from each other, in order.

        Raises ModelError if there is not one key an alert.
        """
        if keys.shape != (len(window),) or keys.dtype != np.uint64:
            raise ModelError(f"is {keys.dtype}{list(keys.shape)}, expected uint64[{len(window)}]", where="keys")
        rows = self.entities.rows
        known = _known(window.band)
        taken, brought = remember_rows(
            self.entities.slots,
            rows["count"],
            rows["points"],
            np.require(keys, np.uint64, ["C", "W"]),
            np.require(window.offsets, np.int64, ["C", "W"]),
            _points(window, known),
            np.require(window.detected(), np.bool_, ["C", "W"]),
            np.require(window.sound() & known, np.bool_, ["C", "W"]),
        )
        return _joined(window, taken, brought)


def _known(band: Ints) -> Flags:
    """bool[m]: bands that a survey may have, and an int8 can."""
    return (band > 0) & (band <= np.iinfo(np.int8).max)


def _points(window: Windowed, known: Flags) -> Points:
    """The window's rows as points. Bands that no survey has become 0, which is never remembered."""
    points = np.empty(len(window.jd), window.point)
    for name in window.point.names or ():
        points[name] = getattr(window, name) if name != "band" else np.where(known, window.band, 0)
    return points


def _joined(window: W, taken: Ints, brought: Points) -> W:
    """The window with taken[i] of the points before the rows of alert i."""
    of_packet = np.ones(len(window.jd) + len(brought), np.bool_)
    of_packet[np.arange(len(brought)) + np.repeat(window.offsets[:-1], taken)] = False

    def joined(name: str) -> NDArray[Any]:
        own: NDArray[Any] = getattr(window, name)
        column = np.empty(len(of_packet), own.dtype)
        column[of_packet], column[~of_packet] = own, brought[name]
        return column

    offsets = window.offsets + np.concatenate([[0], np.cumsum(taken)])
    made: Any = window  # a data class; its protocol can't say so
    return replace(made, offsets=offsets, **{field.name: joined(field.name) for field in fields(made)[1:]})  # type: ignore[no-any-return]
