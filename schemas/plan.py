"""Writer schema + wanted fields → a small integer program that `kernel` runs over the bytes of any number of messages.

One row an operation, in the order in which Avro writes the fields. Records vanish (their fields follow each other),
nullable primitives are one operation, neighbouring fixed-size fields that nobody wants are one skip. Named types are
written out where they are used; recursive ones were refused before (`limits.check_schema`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import Default, Wanted
from .errors import DecodeError
from .limits import SCHEMA_DEPTH
from .resolve import Resolved, resolve

# Operations. Columns of a row: operation, null branch (-1: not a union), column or target, argument.
END, SKIP, SKIP_VARINT, SKIP_BYTES, FLOAT, DOUBLE, BOOL_NUMBER, LONG_NUMBER, BOOL_INTEGER, LONG_INTEGER = range(10)
TEXT, ENUM, UNION, JUMP, ARRAY, NEXT, ABSENT = range(10, 17)

# LSST's longest schema makes 900 rows; a few kilobytes of nested references could make billions of them, or walk over
# billions of types that make no row at all.
PROGRAM_ROWS = 65_536
# A row's numbers are int32; longer skips take several rows.
SKIP_MOST = (1 << 31) - 1
SKIPPED = -1
# Room for child rows, a message, at least: ZTF's histories have 33 on average.
CHILDREN = 48

_SKIPS = {
    "boolean": (SKIP, 1),
    "float": (SKIP, 4),
    "double": (SKIP, 8),
    "int": (SKIP_VARINT, 0),
    "long": (SKIP_VARINT, 0),
    "bytes": (SKIP_BYTES, 0),
    "string": (SKIP_BYTES, 0),
}
_READS = {
    "number": {
        "float": FLOAT,
        "double": DOUBLE,
        "boolean": BOOL_NUMBER,
        "int": LONG_NUMBER,
        "long": LONG_NUMBER,
    },
    "integer": {"boolean": BOOL_INTEGER, "int": LONG_INTEGER, "long": LONG_INTEGER},
    "text": {"string": TEXT, "enum": ENUM},
}


class NotCovered(Exception):
    """This schema and these fields are for fastavro: correct, but slow. Not an error of anybody's."""


class Table(NamedTuple):
    """One output table: the root records (parent -1) or an array of records, and its wanted fields."""

    path: str
    parent: int
    wanted: Wanted


class Fill(NamedTuple):
    """A column that the writer lacks, and its default: `value`, for a text the number of its symbol."""

    table: int
    kind: str
    column: int
    value: float


@dataclass
class Plan:
    """A compiled schema: `program` int32[k, 4]; `tables`, the root first; `fills`, written once a batch.

    `symbols` int64[s, 3] are the symbols of its enums, and default texts: where each stands in `symbol_text` uint8, its
    length, and how many of its enum's symbols begin here.

    `children` is how many rows of a child table to make room for, a message. It follows what is met and changes no
    result.
    """

    program: NDArray[np.int32]
    tables: tuple[Table, ...]
    symbols: NDArray[np.int64]
    symbol_text: NDArray[np.uint8]
    fills: tuple[Fill, ...] = ()
    children: int = CHILDREN


@dataclass
class _Node:
    """What is wanted at one place in the schema."""

    kind: str = ""  # number, integer, text; "" for a place that is only passed through
    column: int = 0
    table: int = SKIPPED
    is_row: bool = False  # it stands for one row of a table
    children: dict[str, "_Node"] = field(default_factory=dict)


def compile_plan(schema: Any, wanted: Wanted) -> Plan:
    """The program for a schema parsed by fastavro (and checked before). Raises `NotCovered`."""
    compiler = _Compiler(resolve(wanted, schema))
    if not isinstance(schema, Mapping) or schema["type"] not in ("record", "error"):
        raise NotCovered("the message is not a record")
    compiler.emit(schema, compiler.root)
    compiler.add(END)
    program = np.array(compiler.rows, np.int32).reshape(-1, 4)
    program.setflags(write=False)
    return Plan(program, tuple(compiler.tables), *_symbols(compiler.symbols), tuple(compiler.fills))


def _symbols(texts: list[bytes]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """`Plan.symbols` and `Plan.symbol_text`; an empty text ends each enum."""
    symbols, at, left = np.zeros((len(texts), 3), np.int64), 0, 0
    for row, text in enumerate(texts):
        symbols[row, :2] = at, len(text)
        at += len(text)
    for row in range(len(texts) - 1, -1, -1):
        left = left + 1 if texts[row] else 0
        symbols[row, 2] = left
    return symbols, np.frombuffer(bytearray().join(texts), np.uint8)


class _Compiler:
    def __init__(self, wanted: Resolved) -> None:
        self.rows: list[list[int]] = []
        self.barrier = 0  # rows before this one may be jumped to, so nothing may be merged into them
        self.names: dict[str, Any] = {}
        self.symbols: list[bytes] = []
        self.enums: dict[str, int] = {}  # number of each enum's first symbol
        self.emitted = self.depth = 0
        self.tables: list[Table] = []
        self.fills: list[Fill] = []
        self.root = self.tree(wanted, "", -1)

    def tree(self, resolved: Resolved, path: str, parent: int) -> _Node:
        """The paths of one table that the writer has, as a tree; tables get numbers as they are met."""
        number, wanted, sources = len(self.tables), resolved.wanted, resolved.sources
        self.tables.append(Table(path, parent, wanted))
        root = _Node(table=number)
        for kind, paths in (("number", wanted.numbers), ("integer", wanted.integers), ("text", wanted.texts)):
            for column, one in enumerate(paths):
                for place in sources[one].paths:
                    leaf = self.descend(root, place)
                    leaf.kind, leaf.column = kind, column
                self.fill(number, kind, column, sources[one].default)
        for one, children in resolved.tables.items():
            found = self.tree(children, one, number)
            for place in sources[one].paths:
                leaf = self.descend(root, place)
                leaf.table, leaf.children = found.table, found.children
        return root

    def fill(self, table: int, kind: str, column: int, default: Default | None) -> None:
        if isinstance(default, str):
            self.fills.append(Fill(table, kind, column, len(self.symbols)))
            self.symbols += [default.encode(), b""]
        elif default is not None:
            self.fills.append(Fill(table, kind, column, default))

    def descend(self, node: _Node, path: str) -> _Node:
        for part in path.split("."):
            node = node.children.setdefault(part, _Node())
            if node.kind or node.table != SKIPPED:
                raise NotCovered(f"{path} is wanted twice, or inside of what is wanted")
        return node

    def add(self, operation: int, null: int = -1, target: int = 0, argument: int = 0) -> int:
        """Append a row; its number."""
        self.rows.append([operation, null, target, argument])
        return len(self.rows) - 1

    def label(self) -> int:
        """The next row's number, as a place to jump to."""
        self.barrier = len(self.rows)
        return self.barrier

    def emit(self, schema: Any, node: _Node | None) -> None:
        """Append what reads (node) or skips (None) one value."""
        if isinstance(schema, str):
            schema = self.names.get(schema, schema)
        self.emitted += 1
        self.depth += 1
        if self.emitted > PROGRAM_ROWS or len(self.rows) > PROGRAM_ROWS:
            raise DecodeError("schema_refused", "its named types, written out, are too many fields")
        if self.depth > SCHEMA_DEPTH + 1:
            raise DecodeError("schema_refused", f"its named types, written out, nest deeper than {SCHEMA_DEPTH} levels")
        self.value(schema, node)
        self.depth -= 1

    def value(self, schema: Any, node: _Node | None) -> None:
        if isinstance(schema, list):
            self.union(schema, node)
            return
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(kind, (list, Mapping)):  # {"type": {...}}
            self.emit(kind, node)
        elif kind in ("record", "error"):
            self.names[schema["name"]] = schema
            self.record(schema, node)
        elif kind in ("array", "map"):
            self.array(schema, node)
        elif kind in ("enum", "fixed"):
            self.names[schema["name"]] = schema
            self.leaf(schema, node, -1)
        elif kind in self.names:
            self.emit(self.names[kind], node)
        else:
            self.leaf(kind, node, -1)

    def record(self, schema: Mapping[str, Any], node: _Node | None) -> None:
        if node is not None and (node.kind or node.table > 0):  # the root's own record is table 0
            raise NotCovered(f"a record stands where a {node.kind or 'table'} is wanted")
        for one in schema["fields"]:
            self.emit(one["type"], node.children.get(one["name"]) if node else None)

    def leaf(self, schema: Any, node: _Node | None, null: int) -> None:
        """A primitive, enum or fixed, by itself or as the other branch of a nullable union."""
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind == "null":
            if node is not None and node.is_row:
                self.add(ABSENT)  # Spark declares rows nullable; a row that is null can't be
            return
        if node is not None and node.table != SKIPPED:
            raise NotCovered(f"a {kind} stands where a table is wanted")
        if node is not None and node.kind:
            operation = _READS[node.kind].get(kind)
            if operation is None:
                raise NotCovered(f"a {kind} stands where a {node.kind} is wanted")
            self.add(operation, null, node.column, self.enum(schema) if kind == "enum" else 0)
        elif kind == "enum":
            self.add(ENUM, null, SKIPPED, self.enum(schema))
        else:
            operation, size = (SKIP, schema["size"]) if kind == "fixed" else _SKIPS[kind]
            last = self.rows[-1] if len(self.rows) > self.barrier else None
            merges = null < 0 and operation == SKIP and last and last[0] == SKIP and last[1] < 0
            if merges and last and last[3] + size <= SKIP_MOST:
                last[3] += size
            else:
                self.add(operation, null, 0, size)

    def enum(self, schema: Mapping[str, Any]) -> int:
        """First symbol's number; the symbols stand in a row, and an empty one ends them."""
        name = schema["name"]
        if name not in self.enums:
            self.enums[name] = len(self.symbols)
            self.symbols += [symbol.encode() for symbol in schema["symbols"]] + [b""]
        return self.enums[name]

    def union(self, branches: list[Any], node: _Node | None) -> None:
        null = branches.index("null") if "null" in branches else -1
        if len(branches) == 2 and null >= 0:
            other = branches[1 - null]
            other = self.names.get(other, other) if isinstance(other, str) else other
            kind = other["type"] if isinstance(other, Mapping) else other
            if kind in (*_SKIPS, "enum", "fixed"):
                if isinstance(other, Mapping) and "name" in other:
                    self.names[other["name"]] = other
                simple = kind if kind in _SKIPS else other
                if node is None or node.kind or node.table != SKIPPED or not node.children:
                    self.leaf(simple, node, null)
                else:
                    self.leaf(simple, None, null)  # a path through a primitive leads nowhere: null
                return
        self.add(UNION, -1, 0, len(branches))
        table = [self.add(JUMP) for _ in branches]
        ends = []
        for row, branch in zip(table, branches, strict=True):
            self.rows[row][2] = self.label()
            self.emit(branch, node)
            ends.append(self.add(JUMP))
        after = self.label()
        for row in ends:
            self.rows[row][2] = after

    def are_records(self, items: Any) -> bool:
        """An array's items are records, or records and null."""
        branches = items if isinstance(items, list) else [items]
        resolved = [self.names.get(one, one) if isinstance(one, str) else one for one in branches if one != "null"]
        return len(resolved) == 1 and isinstance(resolved[0], Mapping) and resolved[0]["type"] == "record"

    def array(self, schema: Mapping[str, Any], node: _Node | None) -> None:
        is_map = schema["type"] == "map"
        wanted = node is not None and (node.kind or node.children or node.table != SKIPPED)
        if wanted and (is_map or node is None or node.kind or node.table == SKIPPED):
            raise NotCovered(f"a path leads into a {schema['type']}")
        items = schema["values"] if is_map else schema["items"]
        if wanted and not self.are_records(items):
            raise NotCovered("an array of something else than records is wanted as a table")
        start = self.add(ARRAY, -1, 0, node.table if wanted and node else SKIPPED)
        first = self.label()
        if is_map:
            self.add(SKIP_BYTES)
            self.barrier = len(self.rows)
        # Inside, the node stands for one record: its columns, no longer its table.
        self.emit(items, _Node(children=node.children, is_row=True) if wanted and node else None)
        self.add(NEXT, -1, first, start)
        self.rows[start][2] = self.label()
