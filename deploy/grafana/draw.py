"""A dashboard and what its queries answered as one SVG: a plain likeness of what Grafana shows."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .plot import NAMED, TOP, Series, cells, lines
from .svg import bar, words
from .units import written

COLUMN, LINE = 50, 22  # pixels of the grid's unit
TITLE, GAP = 36, 3


def drawn(board: Mapping[str, Any], answers: Mapping[int, Sequence[Series]]) -> str:
    """The SVG of a dashboard (its JSON) with the answers to each panel's queries, by the panel's id."""
    height = LINE * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + TITLE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN} {height}" font-family="sans-serif">',
        bar(0, 0, 24 * COLUMN, height, "#f4f5f5"),
        words(8, 24, board["title"], 17, bold=True),
    ]
    for panel in board["panels"]:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN + GAP, place["y"] * LINE + TITLE + GAP
        width, tall = place["w"] * COLUMN - 2 * GAP, place["h"] * LINE - 2 * GAP
        parts.append(f'<g transform="translate({x} {y})">')
        if panel["type"] == "row":
            parts.append(words(5, 14, panel["title"], 12, bold=True))
        else:
            parts += [bar(0, 0, width, tall, "#ffffff"), words(8, 16, panel["title"], bold=True)]
            parts += _content(panel, answers.get(panel["id"], ()), width, tall)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>\n"])


def _content(panel: Mapping[str, Any], answers: Sequence[Series], width: float, height: float) -> list[str]:
    if panel["type"] == "text":
        return _note(panel["options"]["content"], width)
    if not answers:
        return [words(width / 2, height / 2 + 10, "no data", anchor="middle", fill="#888888")]
    kinds = {"stat": _figures, "timeseries": lines, "bargauge": _ranking, "heatmap": cells, "table": _table}
    return kinds[panel["type"]](panel, answers, width, height)


def _note(markdown: str, width: float) -> list[str]:
    plain = markdown.replace("](${page}/)", "").replace("[", "").replace("`", "")
    return [words(8, 34 + 14 * number, line) for number, line in enumerate(textwrap.wrap(plain, int(width / 6)))]


def _figures(panel: Mapping[str, Any], answers: Sequence[Series], width: float, height: float) -> list[str]:
    defaults, each = panel["fieldConfig"]["defaults"], (width - 16) / len(answers)
    parts = []
    for number, one in enumerate(answers):
        middle, text = 8 + each * (number + 0.5), written(one.last, defaults["unit"])
        size = min(30.0, (height - TOP) / 2.2, 1.35 * each / max(len(text), 3))
        colour = _colour(one.last, defaults["thresholds"]["steps"])
        parts.append(words(middle, TOP + (height - TOP) / 2, text, size, "middle", colour))
        parts.append(words(middle, height - 10, one.name, 9, "middle"))
    return parts


def _ranking(panel: Mapping[str, Any], answers: Sequence[Series], width: float, height: float) -> list[str]:
    defaults, ordered = panel["fieldConfig"]["defaults"], sorted(answers, key=lambda one: -one.last)
    each, begin = min(20.0, (height - TOP - 6) / len(ordered)), width * 0.42
    longest = max((one.last for one in ordered if math.isfinite(one.last)), default=0.0) or 1.0
    parts = []
    for number, one in enumerate(ordered):
        y, long = TOP + each * number, max((width - begin - 70) * one.last / longest, 0.0)
        parts.append(words(begin - 6, y + each / 2 + 4, one.name, 10, "end"))
        parts.append(bar(begin, y + 2, long, each - 4, _colour(one.last, defaults["thresholds"]["steps"])))
        parts.append(words(begin + long + 5, y + each / 2 + 4, written(one.last, defaults["unit"]), 10))
    return parts


def _table(panel: Mapping[str, Any], answers: Sequence[Series], width: float, height: float) -> list[str]:
    counted: str = panel["transformations"][0]["options"]["renameByName"]["Value"]
    names = [*answers[0].labels, counted]
    each = (width - 16) / len(names)
    rows = [[one.labels.get(name, f"{one.last:g}") for name in names] for one in answers]
    return [
        words(8 + each * column, TOP + 12 + 18 * number, cell, 10, bold=number == 0)
        for number, row in enumerate([names, *rows])
        for column, cell in enumerate(row)
    ]


def _colour(value: float, steps: Sequence[Mapping[str, Any]]) -> str:
    """Of the last step that a value reaches; the first if it is no number."""
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED[reached[-1]]
