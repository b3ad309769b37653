"""Budgets for bytes that strangers send, checked before anything is allocated for them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import DecodeError

# The largest public alert is a 143 kB Rubin packet; Kafka's own default limit is 1 MiB. Four times that leaves room.
MESSAGE_BYTES = 4 << 20
# LSST's schema, the longest in public use, has 71 kB.
SCHEMA_BYTES = 256 << 10
# LSST 5 has 765 fields.
SCHEMA_FIELDS = 2_000
# A nullable field counts three types: the union and its two branches.
SCHEMA_TYPES = 4 * SCHEMA_FIELDS
# With every named type written out where it is used: a few kilobytes of references could stand for billions.
WRITTEN_OUT_FIELDS = 16_000
# Public surveys nest four or five levels deep; the reader recurses once a level.
SCHEMA_DEPTH = 32
# One decompressed block: four times the message budget, so that a 1000:1 bomb stops early.
BLOCK_BYTES = 16 << 20
# Decompressed bytes that are held at once, and one block more: else a batch of 500 bombs of 16 kB each takes 8 GiB.
INFLATED_BYTES = 64 << 20

# Rows of a wanted array, a message: the longest light curve seen has 3,552. A row of a few bytes takes some 80 in
# columns, so a batch of 500 messages that all go to the limit takes 0.7 GB for a moment, not more.
ITEMS = 16_384

# Values of one JSON message, counted by its separators before it is parsed, since an empty list of three bytes becomes
# 64: a thousand alerts of a hundred values each are below it.
VALUES = 1 << 17
# Zero bytes of one BSON document: each element's name ends with one, and a value has three more on average.
BSON_ZEROS = 4 * VALUES
# Avro that the compiled plans don't cover is built value by value, some 200 bytes each for the smallest records. So
# items of arrays and maps may not build more than this many values for each of their bytes (real ones: about one) ...
VALUES_A_BYTE = 4
# ... and messages must be shorter: three times Rubin's largest.
FALLBACK_BYTES = 512 << 10

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})
KEYWORDS = PRIMITIVES | NAMED | {"array", "map"}


def check_schema(schema: Any) -> None:
    """Refuse a writer schema that could make a reader recurse or allocate without bound.

    `schema` is parsed JSON. Raises `DecodeError("schema_refused")` for recursive types, arrays and maps of items that
    take no bytes (five bytes of data could stand for 2^31 of them) or build more than `VALUES_A_BYTE` values a byte,
    nesting beyond `SCHEMA_DEPTH`, more than `SCHEMA_FIELDS` fields or `SCHEMA_TYPES` types, and names that are not
    defined.

    >>> check_schema({"type": "array", "items": "null"})
    Traceback (most recent call last):
    skimstream.schemas.errors.DecodeError: schema_refused: an array of items that take no bytes
    """
    _Check().size(schema, "", 0)


class _Size(NamedTuple):
    """Of all the ways to encode a type, arrays and maps left empty: the fewest bytes, and the most values above budget.

    `excess` = values - VALUES_A_BYTE x bytes. Where no item's is positive, n bytes hold n VALUES_A_BYTE values at most,
    and what the outermost record builds of nothing.
    """

    least: int
    excess: int

    @classmethod
    def of(cls, least: int) -> "_Size":
        """One value of `least` bytes or more."""
        return cls(least, 1 - VALUES_A_BYTE * least)


class _Check:
    """Walks a schema once; knows the size of every named type, and its fields written out."""

    def __init__(self) -> None:
        self.sizes: dict[str, _Size | None] = {}  # None while the type's own body is being walked
        self.weights: dict[str, int] = {}
        self.fields = self.types = 0
        self.written_out = 0

    def size(self, schema: Any, namespace: str, depth: int) -> _Size:
        """The size of a value of `schema`."""
        if depth > SCHEMA_DEPTH:
            raise _refused(f"nested deeper than {SCHEMA_DEPTH} levels")
        self.types += 1
        if self.types > SCHEMA_TYPES:
            raise _refused(f"more than {SCHEMA_TYPES} types")
        if isinstance(schema, list):
            if not schema:
                raise _refused("an empty union")
            branches = [self.size(branch, namespace, depth + 1) for branch in schema]
            excess = max(branch.excess for branch in branches) - VALUES_A_BYTE
            return _Size(1 + min(branch.least for branch in branches), excess)
        if isinstance(schema, str):
            return self._reference(schema, namespace)
        if not isinstance(schema, Mapping):
            raise _refused("a type is neither a name, an object nor a list")
        kind = schema.get("type")
        if isinstance(kind, str) and kind in NAMED:
            return self._named(kind, schema, namespace, depth)
        if kind == "array" or kind == "map":
            items = self.size(schema.get("items" if kind == "array" else "values"), namespace, depth + 1)
            key = _Size.of(1) if kind == "map" else _Size(0, 0)
            if items.least + key.least == 0:
                raise _refused("an array of items that take no bytes")
            if items.excess + key.excess > 0:
                raise _refused(f"{kind} items that can hold more than {VALUES_A_BYTE} values a byte")
            return _Size.of(1)
        return self.size(kind, namespace, depth + 1)

    def _reference(self, name: str, namespace: str) -> _Size:
        if name in PRIMITIVES:
            return _Size.of({"null": 0, "float": 4, "double": 8}.get(name, 1))
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

    def _named(self, kind: str, schema: Mapping[str, Any], namespace: str, depth: int) -> _Size:
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
        before, size = self.written_out, _Size.of(1)
        if kind == "fixed":
            declared = schema.get("size")
            if not isinstance(declared, int) or not 0 <= declared <= MESSAGE_BYTES:
                raise _refused("a fixed type whose size is not a sensible number")
            size = _Size.of(declared)
        elif kind != "enum":
            fields = schema.get("fields")
            if not isinstance(fields, list):
                raise _refused("a record without a list of fields")
            self.fields += len(fields)
            self.weigh(len(fields))
            if self.fields > SCHEMA_FIELDS:
                raise _refused(f"more than {SCHEMA_FIELDS} fields")
            if len({field.get("name") for field in fields if isinstance(field, Mapping)}) < len(fields):
                raise _refused("two fields of one record have one name, or a field has none")
            least, excess = 0, 1
            for field in fields:
                if not isinstance(field, Mapping) or not isinstance(field.get("name"), str):
                    raise _refused("a field without a name")
                inside = self.size(field.get("type"), space, depth + 1)
                least, excess = least + inside.least, excess + inside.excess
            size = _Size(least, excess)
        self.sizes[full] = size
        self.weights[full] = self.written_out - before
        return size


def _refused(detail: str) -> DecodeError:
    return DecodeError("schema_refused", detail)
