"""Gathers what training needs from recorded events: features in order, whose each row is, which record, which label.

Features are computed as a worker computes them: event by event, each from what came before it, by the stream's own
state. So nothing that happens later, in the test least of all, can reach a row (a test proves it).

Order is the order of event time. Files needn't be in it: records are sorted first (within their night, as they came,
where the stream tells no closer time); alerts that bring their history along are sorted as rows, afterwards. A topic's
partitions each have a state of their own and are read in the order of offsets, as workers read them; their rows are
then merged by time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from ..consumer.batch import headers_of
from ..consumer.streams.base import SECONDS_A_DAY, Features, State, Stream, night_name
from ..producer.archive import messages
from ..schemas.columns import Columns, concatenate
from ..schemas.decode import Decoder
from ..schemas.errors import DecodeError
from ..schemas.reader import read_file
from ..scoring.recipe import Examples
from ..scoring.refusals import fingerprints
from .csvfile import is_csv, read_csv
from .jsonfile import is_json, read_json
from .labels import LabelError, Labels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A file of training events is the user's own and is read whole; 2 GiB are some ten million sessions.
TRAINING_FILE_BYTES = 2 << 30
AT_ONCE = 500  # messages of a partition, or files of one record, decoded together
BYTES_AT_ONCE = 64 << 20


@dataclass(slots=True)
class Tally:
    """What was left out, and why."""

    records: int = 0
    wrong: int = 0
    unreadable: int = 0
    late: int = 0  # came after a record of a later time
    unscored: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.unscored.items() if count)
        return f"left out: {self.wrong} invalid, {reasons or 'none unscorable'}; {self.unreadable} unreadable"


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one block: features, times, entities, fingerprints, labels; `arrived` is Kafka's time, 0 for files."""

    matrix: Floats
    time: Floats
    arrived: Ints
    entity: NDArray[np.uint64]
    record: NDArray[np.uint64]
    labels: list[bool] | None
    nights: Ints


#: Hears of a block of a partition's records, in order: the features of those that are scorable, and all their times.
Listener = Callable[[int, Columns, Features, Floats], None]


class Gatherer:
    """Takes records, file by file or message by message, and gives `Examples`; `mark` says where the test begins."""

    def __init__(self, stream: Stream, labels: Labels, heard: Listener | None = None) -> None:
        self.stream, self.labels, self.heard = stream, labels, heard
        wanted = stream.wanted
        if labels.column is not None:
            if labels.column in wanted.paths:
                raise LabelError(labels.column, f"the stream {stream.name} reads this field; a label is no feature")
            wanted = replace(wanted, texts=(*wanted.texts, labels.column))
        self.wanted = wanted
        self._decoder = Decoder(wanted, "container")
        self.tally = Tally()
        self.nights: set[int] = set()
        self._states: dict[int, State] = {}
        self._latest: dict[int, float] = {}
        self._waiting: list[Columns] = []
        self._stage: list[_Part] = []
        self._done: list[_Part] = []

    def files(self, paths: Iterable[Path]) -> Iterator[int]:
        """Take Avro, CSV and JSON-lines files, folders and tars of Avro; yields how many records were read so far."""
        held: list[bytes] = []
        for name, data in messages(paths, max_bytes=TRAINING_FILE_BYTES):
            if self.labels.column is not None and not is_csv(name):
                raise LabelError(self.labels.column, f"{name} is no CSV file; give --labels instead")
            if is_csv(name) or is_json(name):  # a fault is raised: it is all there is
                for columns in self._read(name, data):
                    self._take(self._valid(columns))
                    yield self.tally.records
                continue
            held.append(data)
            if len(held) == AT_ONCE or sum(map(len, held)) >= BYTES_AT_ONCE:
                yield from self._containers(held)
                held = []
        yield from self._containers(held)

    def _containers(self, files: Sequence[bytes]) -> Iterator[int]:
        """Take Avro files: those of one record each, as alerts come, together; the others, record by record."""
        decoded = self._decoder.decode(files)
        self._take(self._valid(decoded.columns))
        yield self.tally.records
        for one in decoded.rejected:
            try:
                for columns in read_file(files[one.index], self.wanted):
                    self._take(self._valid(columns))
                    yield self.tally.records
            except DecodeError:
                self.tally.unreadable += 1

    def _read(self, name: str, data: bytes) -> Iterator[Columns]:
        if is_csv(name):
            return read_csv(data, self.wanted, TRAINING_FILE_BYTES)
        return read_json(data, self.wanted)

    def topic(self, received: Iterable[Message], decoder: Decoder) -> Iterator[int]:
        """Take messages of a topic, each partition's in order; yields how many were read so far."""
        waiting: dict[int, list[Message]] = {}
        for message in received:
            held = waiting.setdefault(message.partition() or 0, [])
            held.append(message)
            if len(held) == AT_ONCE:
                self._messages(held, decoder)
                held.clear()
            self.tally.records += 1
            yield self.tally.records
        for partition in sorted(waiting):
            self._messages(waiting[partition], decoder)

    def mark(self) -> int:
        """All that was taken so far is complete and in order; how many rows that are."""
        if self._waiting:
            columns = concatenate(self._waiting)
            self._waiting = []
            time = times(self.stream, columns)
            self.tally.late += _late(time)
            self._row(columns.take(np.argsort(time, kind="stable")))
        if self._stage:
            part = _joined(self._stage)
            order = np.lexsort((np.arange(len(part.time)), part.arrived, part.time))
            self._done.append(_ordered(part, order))
            self._stage = []
        return sum(len(part.matrix) for part in self._done)

    def examples(self) -> Examples:
        """All rows so far."""
        self.mark()
        stream = self.stream
        part = _joined(self._done) if self._done else None
        none = np.empty(0, np.uint64)
        return Examples(
            stream.name,
            tuple(stream.features),
            tuple(stream.units),
            part.matrix if part else np.empty((0, len(stream.features))),
            part.entity if part else none,
            part.record if part else none,
            np.array(part.labels, np.bool_) if part and part.labels is not None else None,
        )

    def _valid(self, columns: Columns) -> Columns:
        faults = {row for row, _ in self.stream.check(columns)}
        self.tally.records += len(columns)
        self.tally.wrong += len(faults)
        return columns.take(np.array([row for row in range(len(columns)) if row not in faults], np.int64))

    def _take(self, columns: Columns) -> None:
        if self.wanted.tables and self._state(0).entities is None:  # large, and with histories of their own
            self._row(columns)
        else:
            self._waiting.append(columns)

    def _messages(self, batch: Sequence[Message], decoder: Decoder) -> None:
        decoded = decoder.decode(
            [message.value() for message in batch],
            [message.key() for message in batch],
            [headers_of(message) for message in batch],
        )
        self.tally.unreadable += len(decoded.rejected)
        columns = decoded.columns
        faults = {row for row, _ in self.stream.check(columns)}
        self.tally.wrong += len(faults)
        good = np.array([row for row in range(len(columns)) if row not in faults], np.int64)
        arrived = np.array([batch[place].timestamp()[1] for place in decoded.index[good].tolist()], np.int64)
        self._row(columns.take(good), batch[0].partition() or 0, arrived)

    def _state(self, partition: int) -> State:
        return self._states.get(partition) or self._states.setdefault(partition, self.stream.open())

    def _row(self, columns: Columns, partition: int = 0, arrived: Ints | None = None) -> None:
        """Features of records in order, and what else is known of them."""
        stream = self.stream
        state = self._state(partition)
        found = _admitted(state, columns) if self.wanted.tables else state.features(columns)
        for reason, count in found.unscored.items():
            self.tally.unscored[reason] = self.tally.unscored.get(reason, 0) + count
        rows, time = found.rows.tolist(), times(stream, columns)
        if self.heard is not None:
            self.heard(partition, columns, found, time.copy())
        if arrived is not None and len(time):
            # Its features hold what came before it: a late event stays behind those.
            time[0] = max(time[0], self._latest.get(partition, -np.inf))
            self.tally.late += _late(time)
            time = np.maximum.accumulate(time)
            self._latest[partition] = float(time[-1])
        nights = stream.nights(columns)[found.rows]
        self.nights |= set(nights.tolist())
        self._stage.append(
            _Part(
                found.matrix,
                time[found.rows],
                np.zeros(len(rows), np.int64) if arrived is None else arrived[found.rows],
                np.array([_hash(stream.object_id(columns, row)) for row in rows], np.uint64),
                records(columns, stream.wanted.texts)[found.rows],
                self.labels.of(stream, columns, rows),
                nights,
            )
        )


def _admitted(state: State, columns: Columns) -> Features:
    """Features by a state that may remember light curves: only those of objects that were admitted, batch by batch."""
    entities = state.entities
    if entities is None:
        return state.features(columns)
    parts, unscored = [], dict[str, int]()
    for at in range(0, len(columns), AT_ONCE):
        batch = columns.take(np.arange(at, min(at + AT_ONCE, len(columns))))
        entities.saved()  # there is no checkpoint: beyond the capacity, the object seen longest ago is forgotten
        entities.admit(state.keys(batch))
        found = state.features(batch)
        parts.append((found.rows + at, found.matrix))
        unscored = {reason: count + unscored.get(reason, 0) for reason, count in found.unscored.items()}
    if not parts:
        return state.features(columns)
    rows, matrices = zip(*parts, strict=True)
    return Features(np.concatenate(rows), np.concatenate(matrices), unscored)


def times(stream: Stream, columns: Columns) -> Floats:
    """float64[n]: seconds since 1970, as closely as the stream tells: its `times`, if it has them, else the night."""
    own = getattr(stream, "times", None)
    found = own(columns) if own is not None else stream.nights(columns) * SECONDS_A_DAY
    return np.array(found, np.float64)


def records(columns: Columns, texts: Iterable[str]) -> NDArray[np.uint64]:
    """uint64[n]: equal records, in all fields that the stream reads (but child tables), have equal fingerprints."""
    parts: list[NDArray[Any]] = [*columns.numbers.T, *columns.integers.T]
    parts += [columns.text(name).hashes() for name in texts]
    return fingerprints(parts, len(columns))


def _hash(text: str) -> int:
    """64 bits of an object's id, 0 if it has none; the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") if text else 0


def _late(time: Floats) -> int:
    return int((time < np.maximum.accumulate(time)).sum()) if len(time) else 0


def _joined(parts: Sequence[_Part]) -> _Part:
    known = [part.labels for part in parts if part.labels is not None]
    return _Part(
        np.concatenate([part.matrix for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.arrived for part in parts]),
        np.concatenate([part.entity for part in parts]),
        np.concatenate([part.record for part in parts]),
        [label for labels in known for label in labels] if known else None,
        np.concatenate([part.nights for part in parts]),
    )


def _ordered(part: _Part, order: Ints) -> _Part:
    labels = None if part.labels is None else [part.labels[place] for place in order.tolist()]
    return _Part(
        part.matrix[order],
        part.time[order],
        part.arrived[order],
        part.entity[order],
        part.record[order],
        labels,
        part.nights[order],
    )


def summary(gatherer: Gatherer) -> Mapping[str, Any]:
    """What a manifest says of the source: the nights and what was left out."""
    nights, tally = gatherer.nights, gatherer.tally
    return {
        "nights": [night_name(night) for night in (min(nights), max(nights))] if nights else [],
        "records": tally.records,
        "left_out": {"invalid": tally.wrong, "unreadable": tally.unreadable, **tally.unscored},
        "out_of_order": tally.late,
    }
