"""Runs a plan's program over the bytes of many messages: bytes → columns, without building a single record.

Every read is checked against the end of its own message. What fails leaves no trace in the output and gets a code.
Avro 1.11 specification, "Binary encoding".
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .limits import ITEMS
from .plan import (
    ABSENT,
    ARRAY,
    BOOL_INTEGER,
    BOOL_NUMBER,
    DOUBLE,
    END,
    ENUM,
    FLOAT,
    JUMP,
    LONG_INTEGER,
    LONG_NUMBER,
    SKIP,
    SKIP_BYTES,
    SKIP_VARINT,
    TEXT,
    UNION,
)
from .unaligned import double_at, float_at, word_at

# What can be wrong with a message; `FAULTS` has the words. FULL is no fault: the output needs more room.
OK, SHORT, BRANCH, VARINT, LENGTH, COUNT, LEFT, UTF8, SYMBOL, DEEP, NULL_ROW, ITEMS_FAULT, FULL = range(13)
FAULTS = {
    SHORT: "the message ends inside a value",
    BRANCH: "a union's branch that its schema doesn't have",
    VARINT: "a number of more than 64 bits",
    LENGTH: "a length that is negative or reaches past the message's end",
    COUNT: "an array of more items than the rest of the message can hold",
    LEFT: "bytes are left over after the record",
    UTF8: "a text that is not UTF-8",
    SYMBOL: "an enum's symbol that its schema doesn't have",
    DEEP: "arrays nested too deeply",
    NULL_ROW: "an array of records holds a null",
    ITEMS_FAULT: "an array of more records than are read from one message",
}
# As deep as `limits.SCHEMA_DEPTH` lets arrays nest. (Numba notices changes of this file only: after changing a constant
# that is imported, remove its cache, or touch this file.)
NESTED = 40
# Clear in every ASCII character.
HIGH_BITS = np.uint64(0x8080808080808080)

# Columns of the array `tables`, one row a table: rows filled, rows that fit, then for each kind of column how many
# there are and where the table's part of the flat output begins; where its counts begin; its parent.
ROWS, ROOM, NUMBERS, NUMBER_AT, INTEGERS, INTEGER_AT, TEXTS, TEXT_AT, COUNT_AT, PARENT = range(10)
TABLE_COLUMNS = 10


class Output(NamedTuple):
    """Flat arrays, each table's part row by row. Filled with nulls before the kernel runs."""

    numbers: NDArray[np.float64]
    number_null: NDArray[np.bool_]
    integers: NDArray[np.int64]
    integer_null: NDArray[np.bool_]
    text_start: NDArray[np.int64]
    text_length: NDArray[np.int64]
    counts: NDArray[np.int64]


@njit(cache=True, nogil=True)
def run(program, buffer, starts, ends, symbols, tables, out, status):  # type: ignore[no-untyped-def]
    """Decode messages buffer[starts[i]:ends[i]]; status[i] gets OK or what is wrong. Stops with True if out is full."""
    # Unpacked here, once: numba counts references at every access to a tuple of arrays.
    numbers, number_null, integers, integer_null, text_start, text_length, counts = out
    stack = np.zeros((NESTED, 3), np.int64)
    before = np.zeros(len(tables), np.int64)
    for i in range(len(starts)):
        for table in range(len(tables)):
            before[table] = tables[table, ROWS]
        code = one(
            program,
            buffer,
            starts[i],
            ends[i],
            symbols,
            tables,
            numbers,
            number_null,
            integers,
            integer_null,
            text_start,
            text_length,
            counts,
            stack,
        )
        status[i] = code
        if code == FULL:
            return True
        if code == OK:
            tables[0, ROWS] += 1
        else:
            clear(tables, before, out)
    return False


@njit(cache=True, nogil=True, inline="always")
def varint(buffer, at, end):  # type: ignore[no-untyped-def]
    """A zigzag long at `at`: (value, position after it), or (what is wrong, -1)."""
    if at < end and buffer[at] < 0x80:  # most are short
        byte = np.int64(buffer[at])
        return (byte >> 1) ^ -(byte & 1), at + 1
    raw = np.uint64(0)
    shift = np.uint64(0)
    for i in range(10):
        if at + i >= end:
            return np.int64(SHORT), np.int64(-1)
        part = np.uint64(buffer[at + i])
        if i == 9 and part > 1:
            break
        raw |= (part & np.uint64(0x7F)) << shift
        if part < 0x80:
            return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), np.int64(at + i + 1)
        shift += np.uint64(7)
    return np.int64(VARINT), np.int64(-1)


@njit(cache=True, nogil=True)
def block(buffer, at, end, skipped):  # type: ignore[no-untyped-def]
    """Read array block counts at `at` until one holds items to walk: (items or 0 at the end, position), or (code, -1).

    A negative count brings the block's size in bytes along, so that blocks that nobody wants are jumped over.
    """
    while True:
        count, at = varint(buffer, at, end)
        if at < 0:
            return count, at
        if count < 0:
            size, at = varint(buffer, at, end)
            if at < 0:
                return size, at
            if size < 0 or size > end - at:
                return np.int64(LENGTH), np.int64(-1)
            if skipped:
                at += size
                continue
            count = -count
        # Items take a byte at least (limits.check_schema); -2^63 stays negative.
        if count < 0 or count > end - at:
            return np.int64(COUNT), np.int64(-1)
        return count, at


@njit(cache=True, nogil=True)
def is_utf8(buffer, at, end):  # type: ignore[no-untyped-def]
    """RFC 3629, strictly: no overlong forms, no surrogates, nothing above U+10FFFF."""
    while end - at >= 8 and word_at(buffer, at) & HIGH_BITS == 0:  # eight ASCII characters at once
        at += 8
    while at < end:
        lead = buffer[at]
        if lead < 0x80:
            at += 1
            continue
        if 0xC2 <= lead <= 0xDF:
            more, low, high = 1, 0x80, 0xBF
        elif 0xE0 <= lead <= 0xEF:
            more, low, high = 2, 0xA0 if lead == 0xE0 else 0x80, 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead <= 0xF4:
            more, low, high = 3, 0x90 if lead == 0xF0 else 0x80, 0x8F if lead == 0xF4 else 0xBF
        else:
            return False
        if end - at <= more or buffer[at + 1] < low or buffer[at + 1] > high:
            return False
        for k in range(2, more + 1):
            if buffer[at + k] < 0x80 or buffer[at + k] > 0xBF:
                return False
        at += more + 1
    return True


@njit(cache=True, nogil=True)
def pack(buffer, symbol_text, start, length):  # type: ignore[no-untyped-def]
    """Copy the texts at `start` out of `buffer`, one after the other; `start` then points into the copy.

    A negative start is -1 - the place of an enum's symbol in `symbol_text`.
    """
    total = 0
    for k in range(len(start)):
        total += max(length[k], 0)
    packed = np.empty(total, np.uint8)
    at = 0
    for k in range(len(start)):
        if length[k] > 0:
            first = start[k]
            start[k] = at
            if first >= 0:
                for i in range(length[k]):
                    packed[at + i] = buffer[first + i]
            else:
                for i in range(length[k]):
                    packed[at + i] = symbol_text[-1 - first + i]
            at += length[k]
        else:
            start[k] = 0
    return packed


@njit(cache=True, nogil=True)
def clear(tables, before, out):  # type: ignore[no-untyped-def]
    """Take back what a failed message has written: its rows become null again, its children are uncounted."""
    for table in range(len(tables)):
        first, last = before[table], min(tables[table, ROWS], tables[table, ROOM] - 1)
        for k in range(first * tables[table, NUMBERS], (last + 1) * tables[table, NUMBERS]):
            out.numbers[tables[table, NUMBER_AT] + k] = np.nan
            out.number_null[tables[table, NUMBER_AT] + k] = True
        for k in range(first * tables[table, INTEGERS], (last + 1) * tables[table, INTEGERS]):
            out.integers[tables[table, INTEGER_AT] + k] = 0
            out.integer_null[tables[table, INTEGER_AT] + k] = True
        for k in range(first * tables[table, TEXTS], (last + 1) * tables[table, TEXTS]):
            out.text_start[tables[table, TEXT_AT] + k] = 0
            out.text_length[tables[table, TEXT_AT] + k] = -1
        parent = tables[table, PARENT]
        if parent >= 0:
            for k in range(before[parent], min(tables[parent, ROWS], tables[parent, ROOM] - 1) + 1):
                out.counts[tables[table, COUNT_AT] + k] = 0
    for table in range(len(tables)):
        tables[table, ROWS] = before[table]


@njit(cache=True, nogil=True, inline="always")
def one(  # type: ignore[no-untyped-def]
    program,
    buffer,
    at,
    end,
    symbols,
    tables,
    numbers,
    number_null,
    integers,
    integer_null,
    text_start,
    text_length,
    counts,
    stack,
):
    """Decode one message into the next row of the root table; OK or what is wrong."""
    pc, depth, table = 0, 0, np.int64(0)
    number_at = tables[0, NUMBER_AT] + tables[0, ROWS] * tables[0, NUMBERS]
    integer_at = tables[0, INTEGER_AT] + tables[0, ROWS] * tables[0, INTEGERS]
    text_at = tables[0, TEXT_AT] + tables[0, ROWS] * tables[0, TEXTS]
    while True:
        operation, null, column, argument = program[pc, 0], program[pc, 1], program[pc, 2], program[pc, 3]
        if null >= 0:
            if at >= end:
                return SHORT
            branch = buffer[at]
            at += 1
            if branch == 2 * null:
                pc += 1
                continue
            if branch != 2 - 2 * null:
                return BRANCH
        if operation == FLOAT:
            if end - at < 4:
                return SHORT
            numbers[number_at + column] = float_at(buffer, at)
            number_null[number_at + column] = False
            at += 4
            pc += 1
        elif operation == DOUBLE:
            if end - at < 8:
                return SHORT
            numbers[number_at + column] = double_at(buffer, at)
            number_null[number_at + column] = False
            at += 8
            pc += 1
        elif operation == SKIP:
            if end - at < argument:
                return SHORT
            at += argument
            pc += 1
        elif operation == LONG_NUMBER or operation == LONG_INTEGER or operation == SKIP_VARINT:
            value, at = varint(buffer, at, end)
            if at < 0:
                return value
            if operation == LONG_NUMBER:
                numbers[number_at + column] = float(value)
                number_null[number_at + column] = False
            elif operation == LONG_INTEGER:
                integers[integer_at + column] = value
                integer_null[integer_at + column] = False
            pc += 1
        elif operation == TEXT or operation == SKIP_BYTES:
            length, at = varint(buffer, at, end)
            if at < 0:
                return length
            if length < 0 or length > end - at:
                return LENGTH
            if operation == TEXT:
                if not is_utf8(buffer, at, at + length):
                    return UTF8
                text_start[text_at + column] = at
                text_length[text_at + column] = length
            at += length
            pc += 1
        elif operation == BOOL_NUMBER or operation == BOOL_INTEGER:
            if at >= end:
                return SHORT
            truth = 1 if buffer[at] != 0 else 0
            if operation == BOOL_NUMBER:
                numbers[number_at + column] = truth
                number_null[number_at + column] = False
            else:
                integers[integer_at + column] = truth
                integer_null[integer_at + column] = False
            at += 1
            pc += 1
        elif operation == ENUM:
            value, at = varint(buffer, at, end)
            if at < 0:
                return value
            if value < 0 or value >= symbols[argument, 2]:
                return SYMBOL
            if column >= 0:
                text_start[text_at + column] = -1 - symbols[argument + value, 0]  # not in the message: see pack
                text_length[text_at + column] = symbols[argument + value, 1]
            pc += 1
        elif operation == UNION:
            value, at = varint(buffer, at, end)
            if at < 0:
                return value
            if value < 0 or value >= argument:
                return BRANCH
            pc = program[pc + 1 + value, 2]
        elif operation == JUMP:
            pc = column
        elif operation == ABSENT:
            return NULL_ROW
        elif operation == END:
            return OK if at == end else LEFT
        else:
            if operation == ARRAY:
                if depth == NESTED:
                    return DEEP
                stack[depth, 0], stack[depth, 1] = 0, table
                depth += 1
                start = pc
            else:  # NEXT: an item is complete
                start = argument
                stack[depth - 1, 0] -= 1
                child = program[start, 3]
                if child >= 0:
                    parent = stack[depth - 1, 1]
                    counts[tables[child, COUNT_AT] + tables[parent, ROWS]] += 1
                    tables[child, ROWS] += 1
            child = program[start, 3]
            if stack[depth - 1, 0] == 0:
                count, at = block(buffer, at, end, child < 0)
                if at < 0:
                    return count
                if child >= 0:
                    parent = stack[depth - 1, 1]
                    if count > ITEMS - counts[tables[child, COUNT_AT] + tables[parent, ROWS]]:
                        return ITEMS_FAULT
                stack[depth - 1, 0] = count
            if stack[depth - 1, 0] > 0:
                pc = start + 1
                if child >= 0:
                    table = child
                    if tables[table, ROWS] >= tables[table, ROOM]:
                        return FULL
            else:
                depth -= 1
                table = stack[depth, 1]
                pc = program[start, 2]
            number_at = tables[table, NUMBER_AT] + tables[table, ROWS] * tables[table, NUMBERS]
            integer_at = tables[table, INTEGER_AT] + tables[table, ROWS] * tables[table, INTEGERS]
            text_at = tables[table, TEXT_AT] + tables[table, ROWS] * tables[table, TEXTS]
