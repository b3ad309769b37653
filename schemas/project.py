"""Messages of one writer schema → columns, by a compiled plan."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .columns import Columns, Ints, Wanted
from .kernel import (
    COUNT_AT,
    INTEGER_AT,
    INTEGERS,
    NUMBER_AT,
    NUMBERS,
    PARENT,
    ROOM,
    ROWS,
    TABLE_COLUMNS,
    TEXT_AT,
    TEXTS,
    Output,
    pack,
    run,
)
from .plan import CHILDREN, Plan

Scalar = TypeVar("Scalar", bound=np.generic)


def project(plan: Plan, data: NDArray[np.uint8], starts: Ints, ends: Ints) -> tuple[Columns, NDArray[np.int64]]:
    """Decode the bare records data[starts[i]:ends[i]], int64[n] each, within `data`.

    Returns the columns of the good ones, in order, and int64[n] of `kernel` codes (0 = good). The columns' texts are
    copied out of `data`, which may then be let go.
    """
    status = np.zeros(len(starts), np.int64)
    while True:
        tables, out = _allocate(plan, len(starts), plan.children)
        if not run(plan.program, data, starts, ends, plan.symbols, tables, out, status):
            # Twice of what there was this time; one hostile batch must not make all later ones large.
            most = max((int(row[ROWS]) for row in tables[1:]), default=0)
            plan.children = max(CHILDREN, 2 * most // max(1, len(starts)))
            _fill(plan, tables, out)
            texts = pack(data, plan.symbol_text, tables, out.text_start, out.text_length)
            return _columns(plan, tables, out, texts, 0), status
        plan.children *= 2


def _allocate(plan: Plan, messages: int, children: int) -> tuple[NDArray[np.int64], Output]:
    rows: list[list[int]] = []
    numbers = integers = texts = counts = 0
    for table in plan.tables:
        wanted, is_root = table.wanted, table.parent < 0
        room = max(1, messages) * (1 if is_root else children)
        row = [0] * TABLE_COLUMNS
        row[ROOM], row[PARENT], row[COUNT_AT] = room, table.parent, counts
        row[NUMBERS], row[NUMBER_AT] = len(wanted.numbers), numbers
        row[INTEGERS], row[INTEGER_AT] = len(wanted.integers), integers
        row[TEXTS], row[TEXT_AT] = len(wanted.texts), texts
        numbers += room * len(wanted.numbers)
        integers += room * len(wanted.integers)
        texts += room * len(wanted.texts)
        counts += 0 if is_root else rows[table.parent][ROOM]
        rows.append(row)
    return np.array(rows, np.int64), Output(
        np.empty(numbers),
        np.empty(numbers, np.bool_),
        np.empty(integers, np.int64),
        np.empty(integers, np.bool_),
        np.empty(texts, np.int64),
        np.empty(texts, np.int64),
        np.empty(counts, np.int64),
    )


def _fill(plan: Plan, tables: NDArray[np.int64], out: Output) -> None:
    """Write the defaults of fields that the writer lacks, into the rows that are filled."""
    for table, kind, column, value in plan.fills:
        row = tables[table]
        at, width = {"number": (NUMBER_AT, NUMBERS), "integer": (INTEGER_AT, INTEGERS), "text": (TEXT_AT, TEXTS)}[kind]
        part = slice(row[at] + column, row[at] + row[ROWS] * row[width], row[width])
        if kind == "number":
            out.numbers[part], out.number_null[part] = value, False
        elif kind == "integer":
            out.integers[part], out.integer_null[part] = value, False
        else:
            place, length, _ = plan.symbols[int(value)]
            out.text_start[part], out.text_length[part] = -1 - place, length


def _columns(plan: Plan, tables: NDArray[np.int64], out: Output, data: NDArray[np.uint8], number: int) -> Columns:
    """The filled rows of one table, with its child tables."""
    row = tables[number]
    rows = int(row[ROWS])

    def part(flat: NDArray[Scalar], at: int, width: int) -> NDArray[Scalar]:
        return flat[row[at] : row[at] + rows * row[width]].reshape(rows, row[width])

    children = {}
    for child, table in enumerate(plan.tables):
        if table.parent == number:
            counts = out.counts[tables[child, COUNT_AT] : tables[child, COUNT_AT] + rows]
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
            children[table.path] = (offsets, _columns(plan, tables, out, data, child))
    wanted: Wanted = plan.tables[number].wanted
    return Columns(
        wanted,
        part(out.numbers, NUMBER_AT, NUMBERS),
        part(out.number_null, NUMBER_AT, NUMBERS),
        part(out.integers, INTEGER_AT, INTEGERS),
        part(out.integer_null, INTEGER_AT, INTEGERS),
        data,
        part(out.text_start, TEXT_AT, TEXTS),
        part(out.text_length, TEXT_AT, TEXTS),
        children,
    )
