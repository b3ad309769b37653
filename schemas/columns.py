"""A batch of records as a struct of arrays, with child tables as offset + values, like Arrow lists.

Records go in, columns come out, and nothing after the decoder looks at a single record again.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Default = float | int | str

LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1

# FNV-1a with 64 bits (draft-eastlake-fnv), then MurmurHash3's finaliser, since FNV leaves short texts in its low bits.
FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
SHIFT = np.uint64(33)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read from a record, by dotted path (`candidate.jd`); everything else is skipped.

    tables: arrays of records, each with its own wanted fields.
    aliases: other paths under which writers have the same thing. The first path that the writer's schema has is read,
    whatever its value: a null stays null (`resolve` says it precisely).
    defaults: the column's value where the writer has neither the path nor an alias; else it is null, a table empty.
    Raises ValueError for an alias or a default of what isn't wanted, and for a default of the wrong kind.

    >>> from skimstream.schemas.gather import gather
    >>> old_names = {"midpointMjdTai": ("midPointTai",), "band": ("filterName",)}
    >>> wanted = Wanted(("midpointMjdTai", "snr"), texts=("band",), aliases=old_names, defaults={"snr": 5, "band": "r"})
    >>> columns = gather([{"midPointTai": 59853.25, "filterName": None}], wanted)
    >>> columns.number("midpointMjdTai").tolist(), columns.number("snr").tolist(), columns.text("band").at(0)
    ([59853.25], [5.0], None)
    """

    numbers: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    tables: Mapping[str, "Wanted"] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Default] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, others in self.aliases.items():
            if path not in self.paths or isinstance(others, str):
                raise ValueError(f"aliases: {path!r} must be one of the wanted paths, with a tuple of other paths")
        for path, value in self.defaults.items():
            if path not in (*self.numbers, *self.integers, *self.texts):
                raise ValueError(f"defaults: {path!r} is none of the wanted numbers, integers and texts")
            if path in self.numbers and (isinstance(value, str) or not abs(value) <= sys.float_info.max):
                raise ValueError(f"defaults: {path!r} is a number, {value!r} is none, or not finite")
            if path in self.integers and not (isinstance(value, int) and LONG_MIN <= value <= LONG_MAX):
                raise ValueError(f"defaults: {path!r} is a 64-bit integer, {value!r} is not")
            if path in self.texts and not isinstance(value, str):
                raise ValueError(f"defaults: {path!r} is a text, {value!r} is not")

    @property
    def paths(self) -> tuple[str, ...]:
        """All that is wanted; a path may come twice, as two kinds."""
        return (*self.numbers, *self.integers, *self.texts, *self.tables)


@dataclass(frozen=True, slots=True)
class Text:
    """A column of UTF-8 texts as spans into one buffer: `start`, `length` int64[n]; length -1 = null."""

    buffer: NDArray[np.uint8]
    start: Ints
    length: Ints

    def at(self, row: int) -> str | None:
        """The text of one row, for the few rows that people get to see."""
        start, length = self.start[row], self.length[row]
        return None if length < 0 else str(self.buffer[start : start + length].data, "utf-8")

    def null(self) -> Bools:
        """bool[n], True where there is no text."""
        return self.length < 0

    def hashes(self) -> NDArray[np.uint64]:
        """uint64[n]: equal texts have equal hashes; 0 stands for null alone."""
        hashes: NDArray[np.uint64] = _hashes(self.buffer, self.start, self.length)
        return hashes

    def equals(self, *texts: str) -> Bools:
        """bool[n], True where the row is one of `texts`."""
        encoded = [np.frombuffer(text.encode(), np.uint8) for text in texts]
        found = np.zeros(len(self.start), np.bool_)
        for one in encoded:
            _mark_equal(self.buffer, self.start, self.length, one, found)
        return found

    def malformed(self, longest: int, ascii_only: bool = False) -> Bools:
        """bool[n], True where a text can't be an id: empty, over `longest` bytes of UTF-8, or with a control character.

        Control characters are U+0000 to U+001F and U+007F to U+009F (Unicode's category Cc); `ascii_only` leaves "!" to
        "~" alone, so no spaces either. A null is not malformed.
        """
        found: Bools = _malformed(self.buffer, self.start, self.length, longest, ascii_only)
        return found


@dataclass(frozen=True, slots=True)
class Columns:
    """n records: one row a record, one column a wanted path, in the order of `wanted`.

    numbers: float64[n, numbers], NaN where null; number_null tells null from a NaN that was sent.
    integers: int64[n, integers] (ids never pass through float), 0 where null.
    texts: spans int64[n, texts] into `buffer`. tables: path → (offsets int64[n + 1], Columns of all children).
    """

    wanted: Wanted
    numbers: Floats
    number_null: Bools
    integers: Ints
    integer_null: Bools
    buffer: NDArray[np.uint8]
    text_start: Ints
    text_length: Ints
    tables: Mapping[str, tuple[Ints, "Columns"]]
    _texts: dict[str, Text] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def number(self, path: str) -> Floats:
        """float64[n], NaN where null."""
        return self.numbers[:, self.wanted.numbers.index(path)]

    def integer(self, path: str) -> Ints:
        """int64[n], 0 where null."""
        return self.integers[:, self.wanted.integers.index(path)]

    def null(self, path: str) -> Bools:
        """bool[n], True where the value is null or the writer has no such field."""
        if path in self.wanted.numbers:
            return self.number_null[:, self.wanted.numbers.index(path)]
        if path in self.wanted.integers:
            return self.integer_null[:, self.wanted.integers.index(path)]
        return self.text(path).null()

    def text(self, path: str) -> Text:
        """The spans of one text column."""
        if (known := self._texts.get(path)) is not None:
            return known
        column = self.wanted.texts.index(path)
        buffer = self.buffer.view()
        buffer.setflags(write=False)  # numba compiles anew for each layout: let there be one
        start, length = self.text_start[:, column], self.text_length[:, column]
        text = self._texts[path] = Text(buffer, np.ascontiguousarray(start), np.ascontiguousarray(length))
        return text

    def take(self, rows: Ints) -> "Columns":
        """The records at `rows`, int64[k], with their children; texts stay in the shared buffer."""
        tables = {}
        for path, (offsets, children) in self.tables.items():
            sizes = offsets[rows + 1] - offsets[rows]
            ends = np.cumsum(sizes)
            within = np.arange(int(sizes.sum())) - np.repeat(ends - sizes, sizes)
            tables[path] = (np.concatenate([[0], ends]), children.take(np.repeat(offsets[rows], sizes) + within))
        return Columns(
            self.wanted,
            self.numbers[rows],
            self.number_null[rows],
            self.integers[rows],
            self.integer_null[rows],
            self.buffer,
            self.text_start[rows],
            self.text_length[rows],
            tables,
        )

    def table(self, path: str) -> tuple[Ints, "Columns"]:
        """offsets int64[n + 1] and the children: those of row i are offsets[i]:offsets[i + 1]. Null reads as empty."""
        return self.tables[path]


def concatenate(parts: Sequence[Columns]) -> Columns:
    """The records of all parts (at least one, all with the same wanted fields), one after the other."""
    before = np.cumsum([0, *(len(part.buffer) for part in parts)])
    tables = {}
    for path in parts[0].tables:
        offsets, children = zip(*(part.tables[path] for part in parts), strict=True)
        sizes = np.concatenate([np.diff(one) for one in offsets])
        tables[path] = (np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]), concatenate(children))
    return Columns(
        parts[0].wanted,
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.number_null for part in parts]),
        np.concatenate([part.integers for part in parts]),
        np.concatenate([part.integer_null for part in parts]),
        np.concatenate([part.buffer for part in parts]),
        np.concatenate([part.text_start + shift for part, shift in zip(parts, before, strict=False)]),
        np.concatenate([part.text_length for part in parts]),
        tables,
    )


@njit(cache=True, nogil=True)
def _hashes(buffer, start, length):  # type: ignore[no-untyped-def]
    out = np.zeros(len(start), np.uint64)
    for row in range(len(start)):
        if length[row] < 0:
            continue
        value = FNV_OFFSET
        for i in range(start[row], start[row] + length[row]):
            value = (value ^ np.uint64(buffer[i])) * FNV_PRIME
        value = (value ^ (value >> SHIFT)) * MIX_1
        value = (value ^ (value >> SHIFT)) * MIX_2
        value = value ^ (value >> SHIFT)
        out[row] = value if value != 0 else np.uint64(1)
    return out


@njit(cache=True, nogil=True)
def _mark_equal(buffer, start, length, text, found):  # type: ignore[no-untyped-def]
    for row in range(len(start)):
        if length[row] != len(text):
            continue
        same = True
        for i in range(len(text)):
            if buffer[start[row] + i] != text[i]:
                same = False
                break
        if same:
            found[row] = True


@njit(cache=True, nogil=True)
def _malformed(buffer, start, length, longest, ascii_only):  # type: ignore[no-untyped-def]
    found = length == 0
    for row in range(len(start)):
        if length[row] > longest:
            found[row] = True
            continue
        before = 0
        for i in range(start[row], start[row] + length[row]):
            byte = buffer[i]
            # In UTF-8 U+0080 to U+009F are C2 80 to C2 9F, and after C2 comes nothing below 80.
            control = byte < 0x20 or byte == 0x7F or (before == 0xC2 and byte < 0xA0)
            if control or (ascii_only and (byte == 0x20 or byte > 0x7E)):
                found[row] = True
                break
            before = byte
    return found
