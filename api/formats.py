"""Tables as JSON, CSV, Parquet or VOTable. Integers of 64 bits stay exact in each."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from fastapi import Response
from pydantic_core import to_json

from .columns import Column, Kind
from .problems import Problem
from .rows import REMEMBERED, Entry

INSTALL = "needs libraries that are not installed here: pip install 'skimstream[formats]'"

# What a spreadsheet would take for a formula.
_FORMULA = re.compile(r"[=+\-@\t\r]")
# Characters that no XML document may hold (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and values by row in the columns' order; null is None."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, columns: Sequence[Column], entries: Sequence[Entry]) -> "Table":
        """The rows' values in these columns."""
        chosen = tuple(columns)
        return cls(columns, [_values(chosen, entry) for entry in entries])

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    def column(self, place: int) -> list[Any]:
        """One column's values; what is structured as JSON text."""
        values = [row[place] for row in self.rows]
        if self.columns[place].kind != "json":
            return values
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]


@lru_cache(maxsize=REMEMBERED)
def _values(columns: tuple[Column, ...], entry: Entry) -> Sequence[Any]:
    """A row's values; worked out once, as rows are read once."""
    return tuple(column.of(entry) for column in columns)


def render(table: Table, output_format: str) -> Response:
    """The table as a response. Raises `Problem` (501) where a library for the format is not installed."""
    write, media_type, extension = _WRITERS[output_format]
    headers = (
        {} if output_format == "json" else {"Content-Disposition": f'attachment; filename="skimstream.{extension}"'}
    )
    try:
        return Response(write(table), media_type=media_type, headers=headers)
    except ModuleNotFoundError as error:
        raise Problem(501, f"output-format: {output_format} {INSTALL}", {"output-format": INSTALL}) from error


def _json(table: Table) -> bytes:
    """A list of records, as Fink answers."""
    names = table.names
    return to_json([dict(zip(names, row, strict=True)) for row in table.rows])


def _csv(table: Table) -> bytes:
    """RFC 4180 with a line of names. Texts that a spreadsheet would run get an apostrophe before them."""
    out = io.StringIO(newline="")
    lines = csv.writer(out)
    lines.writerow(table.names)
    columns = [table.column(place) for place in range(len(table.columns))]
    safe = [
        [f"'{one}" if isinstance(one, str) and _FORMULA.match(one) else one for one in values] for values in columns
    ]
    lines.writerows(zip(*safe, strict=True))
    return out.getvalue().encode()


def _parquet(table: Table) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string(), "json": pa.string()}
    fields = [pa.field(one.name, kinds[one.kind], metadata={"about": one.about}) for one in table.columns]
    arrays = [pa.array(table.column(place), field.type) for place, field in enumerate(fields)]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), out)
    return out.getvalue()


def _votable(table: Table) -> bytes:
    """VOTable 1.4; names have _ for Fink's colon, as Fink's have."""
    from astropy.io import votable
    from astropy.table import MaskedColumn
    from astropy.table import Table as Columns

    written = Columns(masked=True)
    for place, column in enumerate(table.columns):
        values = table.column(place)
        name = column.name.replace(":", "_")
        mask = [value is None for value in values]
        filled = [_FILLERS[column.kind] if value is None else value for value in values]
        if column.kind in ("text", "json"):
            filled = [_NOT_XML.sub("\ufffd", value) for value in filled]
        written[name] = MaskedColumn(np.array(filled, _DTYPES[column.kind]), mask=mask, description=column.about)
    out = io.BytesIO()
    votable.from_table(written).to_xml(out)
    return out.getvalue()


_FILLERS: Mapping[Kind, Any] = {"integer": 0, "number": np.nan, "text": "", "json": ""}
_DTYPES: Mapping[Kind, Any] = {"integer": np.int64, "number": np.float64, "text": np.str_, "json": np.str_}
_WRITERS: Mapping[str, tuple[Callable[[Table], bytes], str, str]] = {
    "json": (_json, "application/json", "json"),
    "csv": (_csv, "text/csv; charset=utf-8", "csv"),
    "parquet": (_parquet, "application/vnd.apache.parquet", "parquet"),
    "votable": (_votable, "application/x-votable+xml", "xml"),
}
