"""Settings as a TOML file that gives the same settings again. Secrets are not written, only where they belong."""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..consumer.origins import Setting

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def settings_file(settings: Iterable["Setting"], definitions: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of the file: all settings, then the streams that are defined.

    A file that defines streams can't say which is meant by `stream`; of several, the command line has to.
    """
    tables: dict[tuple[str, ...], list[str]] = {(): []}
    numbered: dict[tuple[str, ...], str] = {}
    for one in settings:
        if one.key[0] == "stream" and (definitions or len(one.key) > 1):
            if len(one.key) == 1 and len(definitions) > 1:
                tables[()].append(f"# stream: skim run {one.value}")
            continue
        table = one.key[:-1]
        head = ".".join(key(part) for part in table if not part.isdigit())
        numbered[table] = f"[[{head}]]" if table and table[-1].isdigit() else f"[{head}]"
        tables.setdefault(table, []).append(_line(one))
    lines = tables.pop(())
    for table, said in tables.items():
        lines += ["", numbered[table], *said]
    for name, definition in definitions.items():
        lines += ["", *_tables(("stream", name), definition)]
    return "\n".join(lines) + "\n"


def _line(one: "Setting") -> str:
    name = key(one.key[-1])
    if one.masked:
        return f"# {name} is secret and not written: {toml(one.value)} (from {one.origin})"
    if one.value is None or one.value == {}:
        return f"# {name}: none"
    return f"{name} = {toml(one.value)}  # {one.origin}"


def _tables(place: tuple[str, ...], table: Mapping[str, Any]) -> list[str]:
    lines = [f"[{'.'.join(map(key, place))}]"]
    lines += [f"{key(name)} = {toml(value)}" for name, value in table.items() if not isinstance(value, Mapping)]
    for name, value in table.items():
        if isinstance(value, Mapping):
            lines += _tables((*place, name), value)
    return lines


def key(name: str) -> str:
    """A key, in quotes where it needs them.

    >>> key("batch"), key("sasl.password")
    ('batch', '"sasl.password"')
    """
    return name if name and BARE.issuperset(name) else toml(name)


def toml(value: Any) -> str:
    r"""A value as TOML.

    >>> toml({"a": [1, 2.5, True], "b.c": "x\ty"})
    '{ a = [1, 2.5, true], "b.c" = "x\\ty" }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key(str(name))} = {toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
