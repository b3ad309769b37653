"""Schemas that name types of other files or subjects → one schema that stands alone."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import DecodeError
from .limits import NAMED, PRIMITIVES, SCHEMA_BYTES

# Avro 1.11, "Names": nothing in it can leave a folder.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def inline(schema: Any, definition: Callable[[str], Any]) -> Any:
    """`schema` (parsed JSON) with the definition of every foreign type in the place where it is first named.

    `definition` gives the parsed schema of a full name, None for a name it doesn't know; that name stays as it is, for
    `check_schema` to refuse. So does a type inside its own definition. Raises `RecursionError` for absurd nesting.

    >>> inline({"type": "array", "items": "a.size"}, {"a.size": {"type": "fixed", "name": "size", "size": 4}}.get)
    {'type': 'array', 'items': {'type': 'fixed', 'name': 'size', 'size': 4, 'namespace': 'a'}}
    """
    defined: set[str] = set()

    def walk(node: Any, namespace: str) -> Any:
        if isinstance(node, list):
            return [walk(branch, namespace) for branch in node]
        if isinstance(node, str):
            return reference(node, namespace)
        if not isinstance(node, Mapping):
            return node
        kind = node.get("type")
        if kind == "array" or kind == "map":
            inner = "items" if kind == "array" else "values"
            return {**node, inner: walk(node.get(inner), namespace)}
        if not isinstance(kind, str) or kind not in NAMED:
            return {**node, "type": walk(kind, namespace)}
        name, space = str(node.get("name")), node.get("namespace", namespace)
        space = name.rpartition(".")[0] or space
        defined.add(_full(name, space))
        if not isinstance(node.get("fields"), list):
            return node
        return {**node, "fields": [field(one, space) for one in node["fields"]]}

    def field(node: Any, namespace: str) -> Any:
        return {**node, "type": walk(node.get("type"), namespace)} if isinstance(node, Mapping) else node

    def reference(name: str, namespace: str) -> Any:
        for full in dict.fromkeys((_full(name, namespace), name)):
            if full in PRIMITIVES or full in defined:
                return name
            found = definition(full)
            if isinstance(found, Mapping):
                defined.add(full)
                # Said outright, or it would inherit the namespace of the place where it now stands.
                return walk({**found, "namespace": full.rpartition(".")[0]}, "")
        return name

    return walk(schema, "")


def read_local(folder: Path, schema_id: int) -> bytes | None:
    """The schema of an id from .avsc files, assembled; None where there is none.

    Either `<id>.avsc`, or Rubin's layout `<major>/<minor>/lsst.v<major>_<minor>.alert.avsc` with
    id = 100 major + minor. Types of other files are looked for beside it, as `<full name>.avsc`. Raises
    `DecodeError("schema_refused")` for a file that is damaged or too long.
    """
    major, minor = divmod(schema_id, 100)
    rubin = folder / str(major) / str(minor) / f"lsst.v{major}_{minor}.alert.avsc"
    file = next((path for path in (folder / f"{schema_id}.avsc", rubin) if path.is_file()), None)
    if file is None:
        return None
    try:
        return json.dumps(inline(_read(file), lambda name: _beside(file, name)), separators=(",", ":")).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise DecodeError("schema_refused", f"{file.name} or a file beside it can't be read: {error}") from error


def _full(name: str, namespace: Any) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _beside(file: Path, name: str) -> Any:
    if NAME.fullmatch(name) is None:
        return None
    path = file.with_name(f"{name}.avsc")
    return _read(path) if path.is_file() else None


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        text = file.read(SCHEMA_BYTES + 1)
    if len(text) > SCHEMA_BYTES:
        raise ValueError(f"more than {SCHEMA_BYTES} bytes")
    return json.loads(text)
