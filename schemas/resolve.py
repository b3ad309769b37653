"""Wanted paths in one writer's schema: under which path each column's values are, or that the writer has no such field.

Decided once a schema, never value by value (Avro 1.11 specification, "Schema Resolution").
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .columns import Default, Wanted


class Source(NamedTuple):
    """Where a column comes from: the paths to try, in order, and its value where a record has none of them."""

    paths: tuple[str, ...]
    default: Default | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """`wanted` with the source of each of its paths, and with its tables' own."""

    wanted: Wanted
    sources: Mapping[str, Source]
    tables: Mapping[str, "Resolved"]


def resolve(wanted: Wanted, schema: Any) -> Resolved:
    """Sources in a schema parsed by fastavro: the one path that it has, or none and the default.

    A schema has a path that one branch at least of every union on the way leads along; where a value took another
    branch, it is null, and neither an alias nor the default steps in. A map has every key, an array none.

    >>> row = {"type": "record", "name": "row", "fields": [{"name": "old", "type": ["null", "float"]}]}
    >>> wanted = Wanted(numbers=("new", "extra"), aliases={"new": ("older", "old")}, defaults={"new": 1, "extra": 2})
    >>> resolve(wanted, row).sources
    {'new': Source(paths=('old',), default=None), 'extra': Source(paths=(), default=2)}
    """
    return _resolve(wanted, [schema], _named(schema))


def unresolved(wanted: Wanted) -> Resolved:
    """Sources in records without a schema (JSON, BSON): the path and its aliases; whichever key is there first."""
    sources = {path: Source((path, *wanted.aliases.get(path, ())), wanted.defaults.get(path)) for path in wanted.paths}
    return Resolved(wanted, sources, {path: unresolved(children) for path, children in wanted.tables.items()})


def _resolve(wanted: Wanted, rows: Sequence[Any], names: Mapping[str, Any]) -> Resolved:
    """As `resolve`, for records that may be any of `rows`."""
    sources, tables = {}, {}
    for path in wanted.paths:
        source, found = Source((), wanted.defaults.get(path)), list[Any]()
        for candidate in (path, *wanted.aliases.get(path, ())):
            found = list(_at(rows, candidate.split("."), names))
            if found:
                source = Source((candidate,))
                break
        sources[path] = source
        if path in wanted.tables:
            items = [one["items"] for one in found if isinstance(one, Mapping) and one["type"] == "array"]
            tables[path] = _resolve(wanted.tables[path], items, names)
    return Resolved(wanted, sources, tables)


def _at(schema: Any, parts: Sequence[str], names: Mapping[str, Any]) -> Iterator[Any]:
    """The types that can stand at a path."""
    schema = names.get(schema, schema) if isinstance(schema, str) else schema
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        for branch in schema:
            yield from _at(branch, parts, names)
    elif isinstance(schema, Mapping) and (not isinstance(kind, str) or kind in names):  # {"type": {...}}
        yield from _at(kind, parts, names)
    elif not parts:
        yield schema
    elif kind in ("record", "error"):
        for field in schema["fields"]:
            if field["name"] == parts[0]:
                yield from _at(field["type"], parts[1:], names)
    elif kind == "map":
        yield from _at(schema["values"], parts[1:], names)


def _named(schema: Any) -> dict[str, Any]:
    """The named types that a parsed schema defines, wherever it does. Its nesting is bounded: `limits.check_schema`."""
    if isinstance(schema, list):
        inner = schema
    elif isinstance(schema, Mapping):
        inner = [schema[key] for key in ("type", "items", "values") if key in schema]
        inner += [field["type"] for field in schema.get("fields", ())]
    else:
        return {}
    found = {schema["name"]: schema} if isinstance(schema, Mapping) and "name" in schema else {}
    for one in inner:
        found |= _named(one)
    return found
