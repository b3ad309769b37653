"""The streams of one's own that a TOML file defines, and the settings that a definition brings."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .streams.definition import Definition, DefinitionError, define
from .streams.toml_lines import Place, line_of, lines_of


def definitions_of(file: Path) -> dict[str, Definition]:
    """The tables `[stream.NAME]` of a file. Raises `DefinitionError` with every problem, `ValueError` if not TOML."""
    return definitions_in(file.read_text(), file.parent, file)


def definitions_in(text: str, folder: Path, file: Path | None = None) -> dict[str, Definition]:
    """The same of a file's text, whose relative paths are from `folder`."""
    tables = tomllib.loads(text).get("stream")
    if not isinstance(tables, dict):  # the name of one, or none at all
        return {}
    found, problems, lines = {}, [], lines_of(text)
    for name, table in tables.items():
        definition, wrong = define(name, table, folder)
        places = sorted(
            ((("stream", name, *([key] if key else [])), said) for key, said in wrong),
            key=lambda one: line_of(lines, one[0]) or 0,
        )
        problems += [placed(place, said, lines) for place, said in places]
        if definition is not None:
            found[name] = definition
    if problems:
        raise DefinitionError(problems, file)
    return found


def placed(place: Place, said: str, lines: Mapping[Place, int]) -> str:
    """A problem with its key and its line."""
    line = line_of(lines, place)
    return f"{'.'.join(place)}{f' (line {line})' if line else ''}: {said}"


def without_streams(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A file's settings without definitions: `stream` is then the name of a stream, if it is anything."""
    return {name: value for name, value in settings.items() if not (name == "stream" and isinstance(value, dict))}
