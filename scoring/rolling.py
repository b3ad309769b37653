"""The last rows of a stream, and what is made of them anew every so many events: what rolling parts have in common."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, RowRefused

Array = NDArray[Any]
Floats = NDArray[np.float64]

# The range of float32, which all parts share.
LARGEST = float(np.finfo(np.float32).max)
# Far more than the 52 features of a light-curve model need (1 MB); a bundle can't ask for more.
MOST_BYTES = 64 << 20
# A count of events that float64 holds exactly; at a million events a second it lasts 285 years.
MOST_EVENTS = 1 << 53


class Rolling(ABC):
    """A part that is made anew, after every `every` events, of the last `window` rows, and scores the next ones by it.

    Score first, learn after; silent (NaN) for the first `every` events. Rows are made use of at fixed counts of the
    events seen, so how a stream is cut into calls changes no bit. What a part is at any event follows from its settings
    and the rows it holds, `window + every - 1` at most: that is its whole state.

    Not for two threads at once: `copy` gives each partition rows of its own.
    """

    #: The settings by name, in their order in `to_arrays`, each with its least and its greatest value.
    SETTINGS: ClassVar[Mapping[str, tuple[int, int]]]
    #: What rows are kept as.
    DTYPE: ClassVar[type[np.float32] | type[np.float64]]

    window: int
    every: int

    def __init__(self, n_features: int, **settings: int) -> None:
        for name, (least, most) in self.SETTINGS.items():
            value = settings[name]
            if not least <= value <= most:
                raise ModelError(f"is {value}, choose {least} to {most}", where=name)
            setattr(self, name, value)
        size = (self.window + self.every, n_features)
        if n_features < 1 or size[0] * size[1] * np.dtype(self.DTYPE).itemsize > MOST_BYTES:
            raise ModelError(f"{n_features} features of {size[0]} rows: 1 at least, {MOST_BYTES} bytes at most")
        self.n_features = n_features
        self.seen = 0
        self._rows = np.zeros(size, self.DTYPE)
        self._made_of = 0  # so many rows, the first of `_rows`; the others wait for the next time

    @abstractmethod
    def _make(self, rows: Array) -> None:
        """Make the part of the rows [m, f]; replaces what it was made of before, and shares nothing with it."""

    @abstractmethod
    def _score(self, rows: Array) -> Floats:
        """Scores float64[n] of rows [n, f], n > 0, by what was made; higher = more anomalous."""

    @abstractmethod
    def _contribute(self, rows: Array) -> Floats:
        """What each feature adds to the scores of rows [n, f], n > 0: float64[n, f], positive = towards anomaly."""

    @property
    def ready(self) -> bool:
        """Whether the next event gets a score."""
        return self.seen >= self.every

    def score_learn(self, X: Floats) -> Floats:
        """Scores float64[n] of events float64[n, f], each scored, then learned; NaN while there is nothing to go by.

        Values must be finite and within float32's range; missing ones are imputed before. Raises `RowRefused` for a
        value, `ModelError` for a matrix of another kind, and learns nothing then.
        """
        return self.score_learn_traced(X)[0]

    def score_learn_traced(self, X: Floats) -> "tuple[Floats, RollingTrail]":
        """As `score_learn`, and what it takes to say later which features a score is from."""
        if X.dtype != np.float64 or X.ndim != 2 or X.shape[1] != self.n_features:
            raise ModelError(f"is {X.dtype}{list(X.shape)}, expected float64[n, {self.n_features}]", where="X")
        usable = np.abs(X) <= LARGEST
        if not usable.all():
            row, column = np.argwhere(~usable)[0].tolist()
            problem = f"is {X[row, column]}, no finite float32: impute missing values before"
            raise RowRefused(problem, row=row, column=column)
        rows = np.ascontiguousarray(X, self.DTYPE).view()
        rows.setflags(write=False)  # numba compiles once more for read-only input: let all input be that
        scores = np.full(len(X), np.nan)
        trail = RollingTrail(rows, [])
        at = 0
        while at < len(rows):
            waiting = self.seen % self.every
            part = rows[at : at + self.every - waiting]
            if self.ready:
                scores[at : at + len(part)] = self._score(part)
            trail.pieces.append((at, copy.copy(self) if self.ready else None))  # what was made is never changed
            self._rows[self._made_of + waiting :][: len(part)] = part
            self.seen += len(part)
            at += len(part)
            if self.seen % self.every == 0:
                self._turn()
        return scores, trail

    def _turn(self) -> None:
        held = self._made_of + self.every
        self._made_of = min(held, self.window)
        self._rows[: self._made_of] = self._rows[held - self._made_of : held].copy()
        self._make(self._rows[: self._made_of])

    def state(self) -> dict[str, Array]:
        """What learning changes, as copies: `seen` int64[], the events so far; `rows` [m, f], the last of them.

        The first min(window, seen - seen % every) rows are those that the part is made of, the others came after.
        """
        held = self._made_of + self.seen % self.every
        return {"seen": np.array(self.seen, np.int64), "rows": self._rows[:held].copy()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a `state`, taken as hostile. Raises `ModelError`, and then nothing has changed."""
        _check_names(state, ("seen", "rows"))
        seen, rows = state["seen"], state["rows"]
        if seen.dtype != np.int64 or seen.shape != () or not 0 <= int(seen) <= MOST_EVENTS:
            raise ModelError(f"must be one int64 from 0 to {MOST_EVENTS}", where="seen")
        waiting = int(seen) % self.every
        made_of = min(self.window, int(seen) - waiting)
        shape = (made_of + waiting, self.n_features)
        if rows.dtype != self.DTYPE or rows.shape != shape:
            given = f"{rows.dtype}{list(rows.shape)}"
            raise ModelError(f"is {given}, expected {np.dtype(self.DTYPE)}{list(shape)}", where="rows")
        if not (np.abs(rows) <= LARGEST).all():
            raise ModelError("must be finite numbers within float32's range", where="rows")
        held = np.zeros_like(self._rows)
        held[: len(rows)] = rows
        self.seen, self._made_of, self._rows = int(seen), made_of, held
        if self.ready:
            self._make(held[:made_of])

    def to_arrays(self) -> dict[str, Array]:
        """All that is durable: `settings` int64[k], by `SETTINGS`, and `state`."""
        return {"settings": np.array([getattr(self, name) for name in self.SETTINGS], np.int64)} | self.state()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The part that `to_arrays` gave, with all it had learned. Input is taken as hostile. Raises `ModelError`."""
        _check_names(arrays, ("settings", "seen", "rows"))
        settings, rows = arrays["settings"], arrays["rows"]
        if settings.dtype != np.int64 or settings.shape != (len(cls.SETTINGS),):
            raise ModelError(f"must be int64[{len(cls.SETTINGS)}]: {', '.join(cls.SETTINGS)}", where="settings")
        if rows.ndim != 2:
            raise ModelError(f"has shape {rows.shape}, expected [rows, features]", where="rows")
        part = cls(rows.shape[1], **dict(zip(cls.SETTINGS, settings.tolist(), strict=True)))
        part.restore({"seen": arrays["seen"], "rows": rows})
        return part

    def copy(self) -> Self:
        """The same part, going on by itself from here."""
        twin = copy.copy(self)
        twin._rows = self._rows.copy()  # noqa: SLF001 (what was made of them is never changed, only replaced)
        return twin


@dataclass(frozen=True, slots=True, eq=False)
class RollingTrail:
    """The rows [n, f] of one call, and by what they were scored: (first row, the part as made then; None = silent)."""

    rows: Array
    pieces: list[tuple[int, Rolling | None]]

    def contributions(self, rows: NDArray[np.int64]) -> Floats:
        """float64[k, f]: what each feature added to the scores of these rows of the call, NaN where there was none."""
        found = np.full((len(rows), self.rows.shape[1]), np.nan)
        piece = np.searchsorted([first for first, _ in self.pieces], rows, side="right") - 1
        for number in np.unique(piece).tolist():
            part, own = self.pieces[number][1], piece == number
            if part is not None:
                found[own] = part._contribute(self.rows[rows[own]])  # noqa: SLF001 (of this file)
        return found


def _check_names(arrays: Mapping[str, Array], names: tuple[str, ...]) -> None:
    if set(arrays) != set(names) or not all(isinstance(arrays[name], np.ndarray) for name in names):
        raise ModelError(f"expected the arrays {sorted(names)}, got {sorted(map(str, arrays))}")
