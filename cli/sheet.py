"""One row of the board on a sheet: score, parts, and every feature with its place in training."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..scoring.rules import broken, broken_in_words
from ..scoring.words import noun_of, placed, quantity
from .table import in_words, printable


def sheet(stream: str, entry: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What `skim explain` prints of a row as `read_top` gives it. Texts of strangers are made harmless.

    Rows from before percentiles were kept have their reasons and bare values.
    """
    yield Text(
        printable(f"{entry['object']}, rank {entry['rank']} of {stream} on the night of {entry.get('night', '?')}"),
        "bold",
    )
    combined = entry.get("combined")
    yield Text(
        _cell(f"score {entry['score']:.6f}" + ("" if combined is None else f", combined value {combined:.3f}"))
        + printable(f"; event {entry.get('event', '?')}, model {entry.get('model', '?')}")
    )
    record = ", ".join(
        f"{name} {_value(value)}" for name, value in entry.get("candidate", {}).items() if value is not None
    )
    if record:
        yield Text(printable(f"record: {record}"))
    features = entry.get("features", {})
    for name, value in features.items():
        if broken(name, value):
            yield Text(printable(f"breaks a rule: {broken_in_words(name)} ({name})"), "bold")
    yield _parts(entry)
    explained = entry.get("explained")
    yield _features(explained, features, noun_of(stream)) if explained else _reasons(entry, features)


def _parts(entry: Mapping[str, Any]) -> Table:
    table = _table("part", "raw score", "z")
    for part, raw in entry.get("raw", {}).items():
        table.add_row(_cell(part), _number(raw, ".4f"), _number(entry.get("z", {}).get(part), "+.2f"))
    return table


def _features(explained: Mapping[str, Any], features: Mapping[str, float], noun: str) -> Table:
    shares = explained["contributions"]
    table = _table("feature", "value", f"in training ({noun})", "deviation", *map(_cell, shares))
    columns = (
        explained["feature"],
        explained["unit"],
        explained["percentile"],
        explained["rows"],
        explained["deviation"],
    )
    for name, unit, percentile, rows, deviation, *said in zip(*columns, *shares.values(), strict=True):
        place = placed(percentile, rows)
        table.add_row(
            _cell(name),
            _cell(quantity(features[name], unit)),
            place,
            _number(deviation, "+.1f"),
            *(_number(None if share is None else 100 * share, "+.0f", " %") for share in said),
            style=None if place == "usual" else "bold",
        )
    return table


def _reasons(entry: Mapping[str, Any], features: Mapping[str, float]) -> Table:
    table = _table("feature", "value")
    for reason in entry.get("reasons", []):
        table.add_row(_cell(reason["feature"]), _cell(in_words(reason)), style="bold")
    for name, value in features.items():
        table.add_row(_cell(name), quantity(value, ""))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "silent" if value is None else f"{value:{form}}{unit}"


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return escape(printable(text))
