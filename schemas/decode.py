"""A batch of messages → columns, and the messages that can't be read with the reason why.

The messages are parted by writer schema where they lie in memory; each schema's compiled plan runs over its part.
Between the two, nothing in Python happens message by message, but for schemas and codecs that the kernels don't know.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .block import BLOCK_FAULTS, find_blocks
from .columns import Columns, Ints, Wanted, concatenate
from .container import MAGIC, SYNC_BYTES, Header, only_block, read_header
from .errors import DecodeError
from .fallback import Fallback
from .framing import Avro, Framing, detect, unframe
from .gather import gather
from .kernel import FAULTS
from .limits import INFLATED_BYTES, MESSAGE_BYTES
from .plan import NotCovered, Plan, compile_plan
from .project import project
from .reader import SCHEMAS_KEPT, parse_schema
from .registry import Registry
from .window import window

log = logging.getLogger(__name__)

#: "auto" tells the framings apart message by message; all but "plain" can be told.
Choice = Framing | Literal["auto"]
#: What a message brings beside its value: its headers, as Kafka's clients give them.
Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that can't be read: its place in the batch, why, and a sentence for people."""

    index: int
    error: DecodeError

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", self.error.bare())


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable messages of a batch as columns; row i came from message `index[i]`."""

    columns: Columns
    index: Ints
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Bare records of one writer schema: messages `index`, their bytes data[start:end]."""

    schema: bytes
    data: NDArray[np.uint8]
    index: Ints
    start: Ints
    end: Ints


class Decoder:
    """Reads `wanted` from every message of a topic.

    framing: how records travel (`framing.Framing`), or "auto". "plain" is a bare record and needs the pinned `schema`
    (parsed JSON); "confluent" looks ids up in `registry`; the others bring their schema or need none.
    Every schema is checked against `limits` before data is touched. `fallbacks` counts the schemas that the compiled
    plans don't cover; fastavro reads those, with equal columns.
    """

    def __init__(
        self,
        wanted: Wanted,
        framing: Choice = "container",
        schema: Mapping[str, Any] | None = None,
        registry: Registry | None = None,
    ) -> None:
        if (framing == "plain") != (schema is not None):
            raise ValueError("the framing 'plain', and only that, needs a schema")
        self.wanted = wanted
        self.framing = framing
        self.registry = registry
        self.pinned = json.dumps(schema).encode() if schema is not None else b""
        self.fallbacks = 0
        self._plans: OrderedDict[bytes, Plan | Fallback | DecodeError] = OrderedDict()
        self._headers: OrderedDict[bytes, Header] = OrderedDict()  # by all bytes before the sync marker

    def decode(
        self,
        messages: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Headers | None] | None = None,
    ) -> Decoded:
        """Columns of all readable messages, in order, and the rest with reasons. Never raises for a message's sake.

        `keys` and `headers`, one a message, matter to the framings "key" and "auto" only.
        """
        rejected: list[Rejected] = []
        values, sizes, index = _readable(messages, rejected)
        data, starts, ends = window(values, sizes)
        parts = []
        groups: Iterable[_Group]
        if self.framing == "plain":
            groups = [_Group(self.pinned, data, index, starts, ends)]
        elif self.framing == "container":
            groups = self._unpack(values, data, index, starts, ends, rejected)
        else:
            are = np.fromiter(map(bytes.startswith, values, repeat(MAGIC)), np.bool_, len(values))
            are &= self.framing == "auto"
            contained = values if are.all() else [values[place] for place in np.flatnonzero(are).tolist()]
            groups = self._unpack(contained, data, index[are], starts[are], ends[are], rejected)
            more, records = self._unframe(index[~are], messages, keys, headers, rejected)
            groups = chain(groups, more)
            parts.append(records)
        parts += [self._read(group, rejected) for group in groups]
        columns, rows = _merged(parts, self.wanted)
        return Decoded(columns, rows, tuple(sorted(rejected, key=lambda one: one.index)))

    def _unpack(
        self,
        values: list[bytes],
        data: NDArray[np.uint8],
        index: Ints,
        starts: Ints,
        ends: Ints,
        rejected: list[Rejected],
    ) -> Iterator[_Group]:
        """The records inside containers, by writer schema; decompressed ones in buffers of their own.

        One by one, and none of much more than `INFLATED_BYTES`: only what is being read is in memory.
        """
        for length, header, members in self._by_header(values, index, rejected):
            if header.codec == "null":
                start, end, status = find_blocks(data, starts[members], ends[members], length)
                for row in np.flatnonzero(status).tolist():
                    fault = DecodeError("decode", BLOCK_FAULTS[int(status[row])])
                    rejected.append(Rejected(int(index[members[row]]), fault))
                good = status == 0
                yield _Group(header.schema, data, index[members[good]], start[good], end[good])
                continue
            bodies, kept, size = [], [], 0
            for member in members.tolist():
                try:
                    own = values[member]  # the sync marker differs from file to file
                    sync = own[length : length + SYNC_BYTES]
                    bodies.append(only_block(own, header._replace(sync=sync)))
                    kept.append(int(index[member]))
                    size += len(bodies[-1])
                except DecodeError as error:
                    rejected.append(Rejected(int(index[member]), error))
                if size >= INFLATED_BYTES:
                    yield _joined(header.schema, bodies, kept)
                    bodies, kept, size = [], [], 0
            yield _joined(header.schema, bodies, kept)

    def _unframe(
        self,
        index: Ints,
        messages: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None,
        headers: Sequence[Headers | None] | None,
        rejected: list[Rejected],
    ) -> tuple[list[_Group], tuple[Columns, Ints]]:
        """Any framing, one message at a time: bare Avro by writer schema, and the columns of JSON and BSON records."""
        bodies: dict[bytes, list[tuple[int, bytes]]] = {}
        parts, places = [], []
        for i in index.tolist():
            value, key = messages[i] or b"", keys[i] if keys else None
            try:
                framing = self.framing
                if framing == "auto":
                    framing = detect(value, key, headers[i] if headers else None, self._known)
                found = unframe(framing, value, key, self.registry, None)
                if isinstance(found, Avro):
                    bodies.setdefault(found.schema, []).append((i, found.body))
                else:
                    parts.append(gather([found], self.wanted))
                    places.append(i)
            except DecodeError as error:
                rejected.append(Rejected(i, error))
        groups = []
        for schema, members in bodies.items():
            groups.append(_joined(schema, [body for _, body in members], [i for i, _ in members]))
        columns = concatenate(parts) if parts else gather([], self.wanted)
        return groups, (columns, np.array(places, np.int64))

    def _known(self, schema_id: int) -> bool:
        return self.registry is not None and self.registry.known(schema_id)

    def _by_header(
        self, values: list[bytes], index: Ints, rejected: list[Rejected]
    ) -> list[tuple[int, Header, NDArray[np.int64]]]:
        """Messages (places in `values`) by the header they begin with: its length before the sync marker, the header.

        Known headers are compared, not parsed.
        """
        found: list[tuple[int, Header, NDArray[np.int64]]] = []
        left = np.arange(len(values))
        known = list(reversed(self._headers))
        while len(left):
            if known:
                prefix = known.pop(0)
            else:
                message = values[left[0]]
                try:
                    header = read_header(message)
                except DecodeError as error:
                    rejected.append(Rejected(int(index[left[0]]), error))
                    left = left[1:]
                    continue
                prefix = message[: header.end - SYNC_BYTES]
                self._headers[prefix] = header
            rest = values if len(left) == len(values) else [values[place] for place in left.tolist()]
            hits = np.fromiter(map(bytes.startswith, rest, repeat(prefix)), np.bool_, len(rest))
            if hits.any():
                found.append((len(prefix), self._headers[prefix], left[hits]))
                left = left[~hits]
                self._headers.move_to_end(prefix)
        while len(self._headers) > SCHEMAS_KEPT:
            self._headers.popitem(last=False)
        return found

    def _read(self, group: _Group, rejected: list[Rejected]) -> tuple[Columns, Ints]:
        """Columns of one group's good records, and which messages they are."""
        try:
            plan = self._plan(group.schema)
        except DecodeError as error:
            rejected += [Rejected(i, error) for i in group.index.tolist()]
            return gather([], self.wanted), np.zeros(0, np.int64)
        if isinstance(plan, Fallback):
            columns, kept, dead = plan.read(group.data, group.start, group.end)
            rejected += [Rejected(int(group.index[row]), error) for row, error in dead]
            return columns, group.index[kept]
        columns, status = project(plan, group.data, group.start, group.end)
        for row in np.flatnonzero(status).tolist():
            rejected.append(Rejected(int(group.index[row]), DecodeError("decode", FAULTS[int(status[row])])))
        return columns, group.index[status == 0]

    def _plan(self, schema: bytes) -> Plan | Fallback:
        """How to read the schema's records. Raises `DecodeError("schema_refused")`."""
        if schema not in self._plans:
            try:
                self._plans[schema] = self._compiled(parse_schema(schema))
            except DecodeError as refusal:  # remembered too: a flood of one bad schema is then cheap
                self._plans[schema] = refusal.bare()
            if len(self._plans) > SCHEMAS_KEPT:
                self._plans.popitem(last=False)
        self._plans.move_to_end(schema)
        plan = self._plans[schema]
        if isinstance(plan, DecodeError):
            raise plan.bare()
        return plan

    def _compiled(self, schema: Any) -> Plan | Fallback:
        try:
            return compile_plan(schema, self.wanted)
        except NotCovered as reason:
            self.fallbacks += 1
            log.warning("a schema is read by fastavro, slowly", extra={"reason": str(reason)})
            return Fallback(schema, self.wanted)


def _joined(schema: bytes, bodies: list[bytes], index: list[int]) -> _Group:
    """Records in one buffer of their own; `bodies` is emptied, so that they are not held twice."""
    sizes = np.array([len(body) for body in bodies], np.int64)
    end = np.cumsum(sizes)
    plain = np.frombuffer(bytearray().join(bodies), np.uint8)
    bodies.clear()
    return _Group(schema, plain, np.array(index, np.int64), end - sizes, end)


def _readable(messages: Sequence[bytes | None], rejected: list[Rejected]) -> tuple[list[bytes], Ints, Ints]:
    """The messages that have a value within the budget, their sizes and their places."""
    values = [message for message in messages if message is not None]
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    if len(values) == len(messages) and sizes.max(initial=0) <= MESSAGE_BYTES:
        return values, sizes, np.arange(len(values))
    places = []
    for i, message in enumerate(messages):
        if message is None:
            rejected.append(Rejected(i, DecodeError("decode", "the message has no value (a tombstone)")))
        elif len(message) > MESSAGE_BYTES:
            fault = f"{len(message)} bytes; {MESSAGE_BYTES} are allowed"
            rejected.append(Rejected(i, DecodeError("too_large", fault)))
        else:
            places.append(i)
    within = sizes <= MESSAGE_BYTES
    return list(compress(values, within)), sizes[within], np.array(places, np.int64)


def _merged(parts: list[tuple[Columns, Ints]], wanted: Wanted) -> tuple[Columns, Ints]:
    """All groups' columns in the order of the messages."""
    parts = [part for part in parts if len(part[1])]
    if not parts:
        return gather([], wanted), np.zeros(0, np.int64)
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([index for _, index in parts])
    order = np.argsort(rows)
    return concatenate([columns for columns, _ in parts]).take(order), rows[order]
