"""Values over time: lines, piles of lines, and buckets as cells."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from .svg import bar, path, words
from .units import written

TOP, LEFT, RIGHT = 28, 58, 10
LEGEND, LEGEND_LINES = 12, 3  # pixels a line
# Colours that people who don't see red or green tell apart (Okabe & Ito 2008), then lighter ones of the same.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"),
    *("#66aad2", "#eca066", "#66c5ab", "#e0afca", "#f0c566", "#9ad2f1", "#999999"),
)
NAMED = {"green": "#2e8b57", "orange": "#e08400", "red": "#c4162a", "blue": "#1f60c4", "purple": "#8f3bb8"}


class Series(NamedTuple):
    """A query's answer: its name in the legend, its labels, and values at times in seconds (one, if it was instant)."""

    name: str
    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]

    @property
    def last(self) -> float:
        """The last value that is a number; else NaN."""
        return next((value for value in reversed(self.values) if math.isfinite(value)), math.nan)


class Box(NamedTuple):
    """The place of a plot in pixels, and what its edges mean."""

    x: float
    y: float
    width: float
    height: float
    times: tuple[float, float]
    low: float
    high: float
    logarithmic: bool = False

    def across(self, time: float) -> float:
        """The pixel of a time."""
        begin, end = self.times
        return self.x + self.width * (time - begin) / max(end - begin, 1e-9)

    def up(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.y + self.height * (1 - (value - low) / max(high - low, 1e-12))


def lines(panel: Mapping[str, Any], answers: Sequence[Series], width: float, height: float) -> list[str]:
    """A line each, or each upon those before it; dashed ones at thresholds; a legend below."""
    defaults = panel["fieldConfig"]["defaults"]
    custom, steps = defaults.get("custom", {}), defaults.get("thresholds", {}).get("steps", [])
    logarithmic = custom.get("scaleDistribution", {}).get("type") == "log"
    piled = custom.get("stacking", {}).get("mode") == "normal"
    legend = _legend(answers, width)
    shown = _piled(answers) if piled else answers
    goals = [step["value"] for step in steps if step["value"] is not None] if logarithmic else []
    box = _box(shown, width, height - LEGEND * len(legend), goals, logarithmic)
    parts = _axes(box, defaults["unit"])
    for number, one in reversed([*enumerate(shown)]):
        colour, runs = COLOURS[number % len(COLOURS)], " ".join(_runs(one, box))
        if piled and runs:
            ground = f"V{box.up(0):.1f} H{box.across(one.times[0]):.1f} Z"
            parts.append(path(f"{runs} {ground}", colour, colour))
        elif runs:
            parts.append(path(runs, colour))
    for step in steps:
        if step["value"] is not None and box.low < step["value"] < box.high:
            across = f"M{box.x} {box.up(step['value']):.1f} h{box.width:.1f}"
            parts.append(path(across, NAMED[step["color"]], dashed=True))
    for row, names in enumerate(legend):
        x, y = 10.0, height - 8 - LEGEND * (len(legend) - 1 - row)
        for number, name in names:
            parts += [bar(x, y - 7, 9, 7, COLOURS[number % len(COLOURS)]), words(x + 12, y, name, 9)]
            x += _room(name)
    return parts


def cells(panel: Mapping[str, Any], answers: Sequence[Series], width: float, height: float) -> list[str]:
    """A histogram's buckets over time: the darker, the more."""
    ordered = sorted(answers, key=lambda one: float(one.labels["le"]))
    rows: list[list[float]] = []
    for place, one in enumerate(ordered):  # buckets hold what lower ones hold: take that away
        below = ordered[place - 1].values if place else [0.0] * len(one.values)
        rows.append([max(_or_zero(value) - _or_zero(less), 0.0) for value, less in zip(one.values, below, strict=True)])
    times, most = ordered[0].times, max(map(max, rows)) or 1.0
    box = Box(LEFT, TOP, width - LEFT - RIGHT, height - TOP - 20, (times[0], times[-1]), 0, len(rows))
    wide, tall = box.width / len(times), box.height / len(rows)
    parts = _time_axis(box)
    for row, (one, counts) in enumerate(zip(ordered, rows, strict=True)):
        y = box.up(row + 1)
        parts.append(words(LEFT - 5, y + tall / 2 + 3, one.labels["le"], 9, "end"))
        filled = [(column, count) for column, count in enumerate(counts) if count > 0]
        parts += [bar(box.x + wide * at, y, wide, tall - 1, "#08519c", math.sqrt(n / most)) for at, n in filled]
    return parts


def _box(
    shown: Sequence[Series], width: float, height: float, goals: Sequence[float], logarithmic: bool = False
) -> Box:
    """The place of the plot; what it spans holds all values and goals."""
    every = [*goals, *(value for one in shown for value in one.values)]
    finite = [value for value in every if math.isfinite(value) and (value > 0 or not logarithmic)]
    low = min(finite, default=0.1) / 1.5 if logarithmic else min([0.0, *finite])
    high = max([low, *finite]) * 1.08 or 1.0
    times = min(one.times[0] for one in shown), max(one.times[-1] for one in shown)
    return Box(LEFT, TOP, width - LEFT - RIGHT, height - TOP - 20, times, low, high, logarithmic)


def _piled(answers: Sequence[Series]) -> list[Series]:
    """Each upon those before it; what isn't a number, or isn't there, counts as 0."""
    times = sorted({time for one in answers for time in one.times})
    tables = [dict(zip(one.times, one.values, strict=True)) for one in answers]
    heights = zip(*(accumulate(_or_zero(table.get(time, 0.0)) for table in tables) for time in times), strict=True)
    return [Series(one.name, one.labels, times, list(values)) for one, values in zip(answers, heights, strict=True)]


def _runs(one: Series, box: Box) -> list[str]:
    """Path commands; what isn't a number interrupts the line."""
    commands, drawing = [], False
    for time, value in zip(one.times, one.values, strict=True):
        good = math.isfinite(value) and (value > 0 or not box.logarithmic)
        if good:
            commands.append(f"{'L' if drawing else 'M'}{box.across(time):.1f} {box.up(value):.1f}")
        drawing = good
    return commands


def _legend(answers: Sequence[Series], width: float) -> list[list[tuple[int, str]]]:
    """The names that fit, with their numbers, by lines."""
    found: list[list[tuple[int, str]]] = [[]]
    used = 0.0
    for number, one in enumerate(answers):
        if used + _room(one.name) > width - 16 and found[-1]:
            found.append([])
            used = 0.0
        found[-1].append((number, one.name))
        used += _room(one.name)
    return found[:LEGEND_LINES]


def _axes(box: Box, unit: str) -> list[str]:
    parts = _time_axis(box)
    for mark in _marks(box):
        parts.append(path(f"M{box.x} {box.up(mark):.1f} h{box.width:.1f}", "#e5e5e5"))
        parts.append(words(box.x - 5, box.up(mark) + 3, written(mark, unit), 9, "end"))
    return parts


def _marks(box: Box) -> list[float]:
    """Values beside the axis: 1, 2 or 5 times a power of ten, or multiples of it."""
    if box.logarithmic:
        powers = range(math.floor(math.log10(box.low)), math.ceil(math.log10(box.high)) + 1)
        few = (1, 2, 5) if len(powers) < 4 else (1,)
        return [mark for power in powers for by in few if box.low <= (mark := by * 10.0**power) <= box.high]
    rough = (box.high - box.low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(by * power for by in (1, 2, 5, 10) if by * power >= rough)
    return [step * number for number in range(math.ceil(box.low / step), math.floor(box.high / step) + 1)]


def _time_axis(box: Box) -> list[str]:
    seconds, below = box.times[1] - box.times[0], box.y + box.height + 11
    parts = [0.25, 0.5, 0.75]
    return [words(box.x + box.width * part, below, f"{seconds * part:.0f} s", 9, "middle") for part in parts]


def _room(name: str) -> float:
    return 20 + 5.0 * len(name)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
