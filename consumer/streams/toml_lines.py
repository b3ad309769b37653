"""Where in a TOML file a key stands. Parsers don't tell; people want to know."""

import re
from collections.abc import Mapping

_BARE = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"\s*({_BARE}(?:\s*\.\s*{_BARE})*)\s*=")
_TABLE = re.compile(rf"\s*\[\[?\s*({_BARE}(?:\s*\.\s*{_BARE})*)\s*\]\]?\s*(?:#.*)?")
_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"' + r"|'[^']*'|#.*")

Place = tuple[str, ...]


def lines_of(text: str) -> Mapping[Place, int]:
    """Key → the line, from 1, where it is given, in valid TOML. Keys of inline tables aren't there; their table is.

    >>> text = 'topic = "t"\\n[stream.payments]\\nnumbers = [\\n  "amount",\\n]\\nkey="k"'
    >>> lines_of(text)["stream", "payments", "key"]
    6
    """
    found: dict[Place, int] = {}
    table: Place = ()
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if not depth:
            if head := _TABLE.fullmatch(line):
                table = _parts(head[1])
                found.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                place = (*table, *_parts(key[1]))
                for end in range(len(table) + 1, len(place) + 1):
                    found.setdefault(place[:end], number)
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark
        bare = _STRINGS.sub("", line)
        depth = max(0, depth + bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}"))
    return found


def line_of(lines: Mapping[Place, int], place: Place) -> int | None:
    """The line of a key, else of the table that it should be in."""
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return None


def _parts(dotted: str) -> Place:
    return tuple(one.strip("\"'") for one in re.findall(_BARE, dotted))
