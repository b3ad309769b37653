"""Budgets for bytes that strangers send, checked before anything is allocated for them."""

from collections.abc import Mapping
from typing import Any

from .errors import DecodeError

# The largest public alert is a 143 kB Rubin packet; Kafka's own default limit is 1 MiB. Four times that leaves room.
MESSAGE_BYTES = 4 << 20
# LSST's schema, the longest in public use, has 71 kB.
SCHEMA_BYTES = 256 << 10
# LSST 5 has 765 fields.
SCHEMA_FIELDS = 2_000
# With every named type written out where it is used: a few kilobytes of references could stand for billions.
WRITTEN_OUT_FIELDS = 16_000
# Public surveys nest four or five levels deep; the reader recurses once a level.
SCHEMA_DEPTH = 32
# One decompressed block: four times the message budget, so that a 1000:1 bomb stops early.
BLOCK_BYTES = 16 << 20

# Rows of a wanted array, a message: the longest light curve seen has 3,552. A row of a few bytes takes some 80 in
# columns, so a batch of 500 messages that all go to the limit takes 0.7 GB for a moment, not more.
ITEMS = 16_384

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})
KEYWORDS = PRIMITIVES | NAMED | {"array", "map"}


def check_schema(schema: Any) -> None:
    """Refuse a writer schema that could make a reader recurse or allocate without bound.

    `schema` is parsed JSON. Raises `DecodeError("schema_refused")` for recursive types, arrays and maps of items that
    take no bytes (five bytes of data could stand for 2^31 of them), nesting beyond `SCHEMA_DEPTH`, more than
    `SCHEMA_FIELDS` fields, and names that are not defined.

    >>> check_schema({"type": "array", "items": "null"})
    Traceback (most recent call last):
    skimstream.schemas.errors.DecodeError: schema_refused: an array of items that take no bytes
    """
    _Check().smallest(schema, "", 0)


class _Check:
    """Walks a schema once; knows the smallest encoding in bytes of every named type, and its fields written out."""

    def __init__(self) -> None:
        self.sizes: dict[str, int | None] = {}  # None while the type's own body is being walked
        self.weights: dict[str, int] = {}
        self.fields = 0
        self.written_out = 0

    def smallest(self, schema: Any, namespace: str, depth: int) -> int:
        """The fewest bytes that a value of `schema` can take."""
        if depth > SCHEMA_DEPTH:
            raise _refused(f"nested deeper than {SCHEMA_DEPTH} levels")
        if isinstance(schema, list):
            if not schema:
                raise _refused("an empty union")
            return 1 + min(self.smallest(branch, namespace, depth + 1) for branch in schema)
        if isinstance(schema, str):
            return self._reference(schema, namespace)
        if not isinstance(schema, Mapping):
            raise _refused("a type is neither a name, an object nor a list")
        kind = schema.get("type")
        if isinstance(kind, str) and kind in NAMED:
            return self._named(kind, schema, namespace, depth)
        if kind == "array" or kind == "map":
            items = self.smallest(schema.get("items" if kind == "array" else "values"), namespace, depth + 1)
            if kind == "array" and items == 0:
                raise _refused("an array of items that take no bytes")
            return 1
        return self.smallest(kind, namespace, depth + 1)

    def _reference(self, name: str, namespace: str) -> int:
        if name in PRIMITIVES:
            return {"null": 0, "float": 4, "double": 8}.get(name, 1)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        key = full if full in self.sizes else name
        if key not in self.sizes:
            raise _refused(f"the type {name[:100]!r} is not defined")
        size = self.sizes[key]
        if size is None:
            raise _refused(f"the type {name[:100]!r} contains itself")
        self.weigh(self.weights[key])
        return size

    def weigh(self, fields: int) -> None:
        """Count fields written out, those of a type again at every use."""
        self.written_out += fields
        if self.written_out > WRITTEN_OUT_FIELDS:
            raise _refused(f"more than {WRITTEN_OUT_FIELDS} fields with every named type written out")

    def _named(self, kind: str, schema: Mapping[str, Any], namespace: str, depth: int) -> int:
        name = schema.get("name")
        if not isinstance(name, str) or not name:
            raise _refused(f"a {kind} without a name")
        space = schema.get("namespace", name.rpartition(".")[0] or namespace)
        if not isinstance(space, str):
            raise _refused("a namespace that is not text")
        full = name if "." in name or not space else f"{space}.{name}"
        if full in KEYWORDS:
            raise _refused(f"a type named {full!r}, which is a keyword")
        self.sizes[full] = None
        before, size = self.written_out, 1
        if kind == "fixed":
            declared = schema.get("size")
            if not isinstance(declared, int) or not 0 <= declared <= MESSAGE_BYTES:
                raise _refused("a fixed type whose size is not a sensible number")
            size = declared
        elif kind != "enum":
            fields = schema.get("fields")
            if not isinstance(fields, list):
                raise _refused("a record without a list of fields")
            self.fields += len(fields)
            self.weigh(len(fields))
            if self.fields > SCHEMA_FIELDS:
                raise _refused(f"more than {SCHEMA_FIELDS} fields")
            size = 0
            if len({field.get("name") for field in fields if isinstance(field, Mapping)}) < len(fields):
                raise _refused("two fields of one record have one name, or a field has none")
            for field in fields:
                if not isinstance(field, Mapping) or not isinstance(field.get("name"), str):
                    raise _refused("a field without a name")
                size += self.smallest(field.get("type"), space, depth + 1)
        self.sizes[full] = size
        self.weights[full] = self.written_out - before
        return size


def _refused(detail: str) -> DecodeError:
    return DecodeError("schema_refused", detail)
