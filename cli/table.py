"""A top list as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from ..scoring.rules import broken, broken_in_words
from ..scoring.words import placed, quantity


def top_table(
    title: str, entries: Sequence[Mapping[str, Any]], marks: Mapping[str, str] | None = None, one_line: bool = False
) -> Table:
    """Rank, object, score, a shadow's score if one looks on, and reasons.

    `marks`: event → the injected anomaly that it is, where that is known.
    """
    table = Table(title=title, title_justify="left", expand=True, pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("", justify="right", width=2)
    table.add_column("object", no_wrap=True)
    table.add_column("score", no_wrap=True)
    looked_on = any("shadow" in entry for entry in entries)
    if looked_on:
        table.add_column("shadow", no_wrap=True)
    table.add_column("why", ratio=1, no_wrap=one_line, overflow="ellipsis" if one_line else "fold")
    if marks is not None:
        table.add_column("injected", no_wrap=True)
    for entry in entries:
        why = ", ".join(in_words(reason) for reason in entry.get("reasons", []))
        row = [str(entry["rank"]), escape(printable(entry["object"])), f"{entry['score']:.5f}"]
        if looked_on:
            seen = entry.get("shadow", {}).get("score")
            row.append("" if seen is None else f"{seen:.5f}")
        row.append(escape(why))
        if marks is not None:
            row.append(escape(marks.get(entry["event"], "")))
        table.add_row(*row)
    return table


def in_words(reason: Mapping[str, Any]) -> str:
    """One reason, short enough for a table; those of rows from before percentiles were kept have a usual range instead.

    >>> in_words({"feature": "g_amplitude", "value": 1.913, "unit": "mag", "percentile": 0.998})
    'g_amplitude 1.91 mag (above 99.8 %)'
    >>> in_words({"feature": "rule_times", "value": 1.0, "words": "rule_times: it ends before it begins"})
    'it ends before it begins'
    >>> in_words({"feature": "g_amplitude", "value": 1.913, "usual": [0.1, 0.3], "deviation": 8.0})
    'g_amplitude 1.91 (usually 0.1 to 0.3)'
    """
    name, value = printable(str(reason["feature"])), reason["value"]
    if broken(name, value):
        return broken_in_words(name)
    said = f"{name} {quantity(value, printable(str(reason.get('unit', ''))), 3)}"
    if "percentile" in reason:
        return f"{said} ({placed(reason['percentile'])})"
    low, high = reason["usual"]
    return f"{said} (usually {low:.2g} to {high:.2g})"


def printable(text: str) -> str:
    """Text of strangers without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)
