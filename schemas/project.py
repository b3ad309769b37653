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
            texts = pack(data, plan.symbol_text, out.text_start, out.text_length)
            return _columns(plan, tables, out, texts, 0), status
        plan.children *= 2


def _allocate(plan: Plan, messages: int, children: int) -> tuple[NDArray[np.int64], Output]:
    tables = np.zeros((len(plan.tables), TABLE_COLUMNS), np.int64)
    for row, table in zip(tables, plan.tables, strict=True):
        row[PARENT] = table.parent
        row[ROOM] = max(1, messages) if table.parent < 0 else max(1, messages) * children
        row[NUMBERS], row[INTEGERS], row[TEXTS] = (
            len(table.wanted.numbers),
            len(table.wanted.integers),
            len(table.wanted.texts),
        )
    sizes = {at: tables[:, ROOM] * tables[:, width] for at, width in _PARTS}
    parents = np.where(tables[:, PARENT] >= 0, tables[tables[:, PARENT], ROOM], 0)
    for at, size in (*sizes.items(), (COUNT_AT, parents)):
        tables[:, at] = np.cumsum(size) - size
    numbers, integers, texts = (int(sizes[at].sum()) for at, _ in _PARTS)
    return tables, Output(
        np.full(numbers, np.nan),
        np.ones(numbers, np.bool_),
        np.zeros(integers, np.int64),
        np.ones(integers, np.bool_),
        np.zeros(texts, np.int64),
        np.full(texts, -1, np.int64),
        np.zeros(int(parents.sum()), np.int64),
    )


_PARTS = ((NUMBER_AT, NUMBERS), (INTEGER_AT, INTEGERS), (TEXT_AT, TEXTS))


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
