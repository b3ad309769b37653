"""Records decoded by a plan, as values to compare."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from skimstream.schemas.columns import Columns, Wanted
from skimstream.schemas.plan import compile_plan
from skimstream.schemas.project import project
from skimstream.schemas.reader import parse_schema


def parsed(schema: Any) -> Any:
    """A schema as fastavro takes it."""
    return parse_schema(json.dumps(schema).encode())


def run_project(schema: Any, wanted: Wanted, messages: Sequence[bytes]) -> tuple[Columns, list[int]]:
    """Columns and codes of bare records laid back to back."""
    ends = np.cumsum([len(one) for one in messages], dtype=np.int64)
    starts = ends - np.array([len(one) for one in messages], np.int64)
    columns, status = project(compile_plan(schema, wanted), np.frombuffer(b"".join(messages), np.uint8), starts, ends)
    return columns, [int(code) for code in status]


def contents(columns: Columns) -> Any:
    """All that columns hold. A double's repr is exact: it tells 0.0 from -0.0, but not one NaN from another."""
    arrays = [array.tolist() for array in (columns.number_null, columns.integers, columns.integer_null)]
    texts = [[columns.text(path).at(row) for row in range(len(columns))] for path in columns.wanted.texts]
    tables = {path: (offsets.tolist(), contents(rows)) for path, (offsets, rows) in columns.tables.items()}
    return len(columns), repr(columns.numbers.tolist()), arrays, texts, tables
