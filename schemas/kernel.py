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
from .unaligned import byte_at, copy, double_at, float_at, word_at

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
    """Flat arrays, each table's part row by row. Rows that aren't filled hold anything."""

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
    i = 0
    while i < len(starts):
        good = tables[0, ROWS]
        code = walk(
            program,
            buffer.ctypes.data,
            starts[i:],
            ends[i:],
            symbols,
            tables,
            before,
            numbers,
            number_null,
            integers,
            integer_null,
            text_start,
            text_length,
            counts,
            stack,
        )
        if code == FULL:
            return True
        i += tables[0, ROWS] - good
        if code != OK:
            status[i] = code
            for table in range(len(before)):  # by hand: to assign arrays, numba compiles its message for other shapes
                tables[table, ROWS] = before[table]  # what was written is overwritten by the next
            i += 1
    return False


@njit(cache=True, nogil=True, inline="always")
def varint(memory, at, end):  # type: ignore[no-untyped-def]
    """A zigzag long at `at`: (value, position after it), or (what is wrong, -1)."""
    if at < end and byte_at(memory, at) < 0x80:  # most are short
        byte = np.int64(byte_at(memory, at))
        return (byte >> 1) ^ -(byte & 1), at + 1
    raw = np.uint64(0)
    shift = np.uint64(0)
    for i in range(10):
        if at + i >= end:
            return np.int64(SHORT), np.int64(-1)
        part = np.uint64(byte_at(memory, at + i))
        if i == 9 and part > 1:
            break
        raw |= (part & np.uint64(0x7F)) << shift
        if part < 0x80:
            return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), np.int64(at + i + 1)
        shift += np.uint64(7)
    return np.int64(VARINT), np.int64(-1)


@njit(cache=True, nogil=True)
def block(memory, at, end, skipped):  # type: ignore[no-untyped-def]
    """Read array block counts at `at` until one holds items to walk: (items or 0 at the end, position), or (code, -1).

    A negative count brings the block's size in bytes along, so that blocks that nobody wants are jumped over.
    """
    while True:
        count, at = varint(memory, at, end)
        if at < 0:
            return count, at
        if count < 0:
            size, at = varint(memory, at, end)
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
def is_utf8(memory, at, end, limit):  # type: ignore[no-untyped-def]
    """RFC 3629, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. Reads up to `limit`, 8 at once."""
    while end - at >= 8 and word_at(memory, at) & HIGH_BITS == 0:  # eight ASCII characters at once
        at += 8
    if end - at < 8 and limit - at >= 8:
        ours = (np.uint64(1) << np.uint64(8 * (end - at))) - np.uint64(1)
        if word_at(memory, at) & ours & HIGH_BITS == 0:
            return True
    while at < end:
        lead = byte_at(memory, at)
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
        if end - at <= more or byte_at(memory, at + 1) < low or byte_at(memory, at + 1) > high:
            return False
        for k in range(2, more + 1):
            if byte_at(memory, at + k) < 0x80 or byte_at(memory, at + k) > 0xBF:
                return False
        at += more + 1
    return True


@njit(cache=True, nogil=True)
def pack(buffer, symbol_text, tables, start, length):  # type: ignore[no-untyped-def]
    """Copy the tables' texts at `start` out of `buffer`, one after the other; `start` then points into the copy.

    A negative start is -1 - the place of an enum's symbol in `symbol_text`.
    """
    total = 0
    for table in range(len(tables)):
        first = tables[table, TEXT_AT]
        for k in range(first, first + tables[table, ROWS] * tables[table, TEXTS]):
            total += max(length[k], 0)
    packed = np.empty(total, np.uint8)
    memory, symbols, to = buffer.ctypes.data, symbol_text.ctypes.data, packed.ctypes.data
    at = 0
    for table in range(len(tables)):
        first = tables[table, TEXT_AT]
        for k in range(first, first + tables[table, ROWS] * tables[table, TEXTS]):
            if length[k] <= 0:
                start[k] = 0
                continue
            source = memory + start[k] if start[k] >= 0 else symbols - 1 - start[k]
            copy(source, to + at, length[k])
            start[k] = at
            at += length[k]
    return packed


@njit(cache=True, nogil=True)
def blank(  # type: ignore[no-untyped-def]
    table, tables, numbers, number_null, integers, integer_null, text_start, text_length, counts
):
    """Begin the table's next row: all null, and no children."""
    row = tables[table, ROWS]
    at = tables[table, NUMBER_AT] + row * tables[table, NUMBERS]
    for k in range(at, at + tables[table, NUMBERS]):
        numbers[k], number_null[k] = np.nan, True
    at = tables[table, INTEGER_AT] + row * tables[table, INTEGERS]
    for k in range(at, at + tables[table, INTEGERS]):
        integers[k], integer_null[k] = 0, True
    at = tables[table, TEXT_AT] + row * tables[table, TEXTS]
    for k in range(at, at + tables[table, TEXTS]):
        text_start[k], text_length[k] = 0, -1
    for child in range(table + 1, len(tables)):
        if tables[child, PARENT] == table:
            counts[tables[child, COUNT_AT] + row] = 0


@njit(cache=True, nogil=True)
def walk(  # type: ignore[no-untyped-def]
    program,
    memory,
    starts,
    ends,
    symbols,
    tables,
    before,
    numbers,
    number_null,
    integers,
    integer_null,
    text_start,
    text_length,
    counts,
    stack,
):
    """Decode messages, each into the next row of the root table, up to the first that fails: OK or what is wrong.

    `before` gets each table's rows before that one. Many messages a call, and memory by its address: numba counts
    references to arrays at every call, with two locked instructions for each array.
    """
    for i in range(len(starts)):
        at, end = starts[i], ends[i]
        pc, depth, table = 0, 0, np.int64(0)
        for each in range(len(tables)):
            before[each] = tables[each, ROWS]
        blank(table, tables, numbers, number_null, integers, integer_null, text_start, text_length, counts)
        number_at = tables[0, NUMBER_AT] + tables[0, ROWS] * tables[0, NUMBERS]
        integer_at = tables[0, INTEGER_AT] + tables[0, ROWS] * tables[0, INTEGERS]
        text_at = tables[0, TEXT_AT] + tables[0, ROWS] * tables[0, TEXTS]
        while True:
            operation, null, column, argument = program[pc, 0], program[pc, 1], program[pc, 2], program[pc, 3]
            if null >= 0:
                if at >= end:
                    return SHORT
                branch = byte_at(memory, at)
                at += 1
                if branch == 2 * null:
                    pc += 1
                    continue
                if branch != 2 - 2 * null:
                    return BRANCH
            if operation == FLOAT:
                if end - at < 4:
                    return SHORT
                numbers[number_at + column] = float_at(memory, at)
                number_null[number_at + column] = False
                at += 4
                pc += 1
            elif operation == DOUBLE:
                if end - at < 8:
                    return SHORT
                numbers[number_at + column] = double_at(memory, at)
                number_null[number_at + column] = False
                at += 8
                pc += 1
            elif operation == SKIP:
                if end - at < argument:
                    return SHORT
                at += argument
                pc += 1
            elif operation == LONG_NUMBER or operation == LONG_INTEGER or operation == SKIP_VARINT:
                value, at = varint(memory, at, end)
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
                length, at = varint(memory, at, end)
                if at < 0:
                    return length
                if length < 0 or length > end - at:
                    return LENGTH
                if operation == TEXT:
                    if not is_utf8(memory, at, at + length, end):
                        return UTF8
                    text_start[text_at + column] = at
                    text_length[text_at + column] = length
                at += length
                pc += 1
            elif operation == BOOL_NUMBER or operation == BOOL_INTEGER:
                if at >= end:
                    return SHORT
                truth = 1 if byte_at(memory, at) != 0 else 0
                if operation == BOOL_NUMBER:
                    numbers[number_at + column] = truth
                    number_null[number_at + column] = False
                else:
                    integers[integer_at + column] = truth
                    integer_null[integer_at + column] = False
                at += 1
                pc += 1
            elif operation == ENUM:
                value, at = varint(memory, at, end)
                if at < 0:
                    return value
                if value < 0 or value >= symbols[argument, 2]:
                    return SYMBOL
                if column >= 0:
                    text_start[text_at + column] = -1 - symbols[argument + value, 0]  # not in the message: see pack
                    text_length[text_at + column] = symbols[argument + value, 1]
                pc += 1
            elif operation == UNION:
                value, at = varint(memory, at, end)
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
                if at != end:
                    return LEFT
                break
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
                    count, at = block(memory, at, end, child < 0)
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
                        blank(
                            table,
                            tables,
                            numbers,
                            number_null,
                            integers,
                            integer_null,
                            text_start,
                            text_length,
                            counts,
                        )
                else:
                    depth -= 1
                    table = stack[depth, 1]
                    pc = program[start, 2]
                number_at = tables[table, NUMBER_AT] + tables[table, ROWS] * tables[table, NUMBERS]
                integer_at = tables[table, INTEGER_AT] + tables[table, ROWS] * tables[table, INTEGERS]
                text_at = tables[table, TEXT_AT] + tables[table, ROWS] * tables[table, TEXTS]
        tables[0, ROWS] += 1
    return OK
