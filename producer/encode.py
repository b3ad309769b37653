"""Records to Avro bytes, the same bytes every time."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import fastavro

from ..schemas.errors import SkimError
from .schema import WriterSchema

# What fastavro raises for a record that does not fit.
MISFITS = (KeyError, TypeError, ValueError, OverflowError, AttributeError)


class EncodeError(SkimError):
    """A record does not fit its schema. Field: `schema`, the schema's name."""

    def __init__(self, schema: str, reason: str) -> None:
        super().__init__(f"the record does not fit the schema {schema}: {reason}")
        self.schema = schema


def plain(record: Mapping[str, Any], schema: WriterSchema) -> bytes:
    """The record's bytes alone, for topics whose schema travels another way; raises `EncodeError`."""
    out = BytesIO()
    try:
        fastavro.schemaless_writer(out, schema.parsed, record, strict=True)
    except MISFITS as error:
        raise EncodeError(schema.parsed["name"], repr(error)) from error
    return out.getvalue()


def container(record: Mapping[str, Any], schema: WriterSchema) -> bytes:
    """An Avro container file with this one record and its schema, as ZTF sends its alerts; raises `EncodeError`.

    One block, no compression, and the schema's own sync marker instead of a random one.
    """
    out = BytesIO()
    try:
        fastavro.writer(out, schema.parsed, [record], codec="null", sync_marker=schema.sync, strict=True)
    except MISFITS as error:
        raise EncodeError(schema.parsed["name"], repr(error)) from error
    return out.getvalue()
