"""Plots as inline SVG: lines and points on a pair of axes, nothing else. No script, no library, no file beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 26, 40
LINE = 15  # of the legend, below the axes
# Colours that people who don't see red or green tell apart (Okabe & Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# A screen has no more columns than this; a curve of 100,000 points is thinned to them.
MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class Series:
    """Points (x, y), float64[n] each, as a line or as dots, with bars from `low` to `high` if given."""

    name: str
    x: Floats
    y: Floats
    kind: Literal["line", "dots"] = "line"
    low: Floats | None = None
    high: Floats | None = None


def plot(title: str, x_label: str, y_label: str, series: Sequence[Series], diagonal: bool = False) -> str:
    """An SVG element; both axes run from 0 to 1.

    >>> line = Series("a & b", np.array([0.0, 1.0]), np.array([0.0, 0.5]))
    >>> drawn = plot("ROC", "false positives", "recall", [line])
    >>> drawn.startswith("<svg"), "a &amp; b" in drawn, drawn.count("<polyline")
    (True, True, 1)
    """
    height = HEIGHT + LINE * len(series)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="11">',
        f'<text x="{WIDTH / 2}" y="14" text-anchor="middle" font-weight="bold">{escape(title)}</text>',
        *_axes(x_label, y_label),
    ]
    if diagonal:
        parts.append(_line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 'stroke="#999" stroke-dasharray="4 3"'))
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        if one.low is not None and one.high is not None:
            parts += [
                _line(np.array([x, x]), np.array([low, high]), f'stroke="{colour}" opacity="0.5"')
                for x, low, high in zip(one.x, one.low, one.high, strict=True)
                if np.isfinite(low) and np.isfinite(high)
            ]
        parts += _drawn(one, colour)
        row = HEIGHT + LINE * number + 9
        parts.append(f'<rect x="{LEFT}" y="{row - 8}" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 14}" y="{row}">{escape(one.name)}</text>')
    return "\n".join([*parts, "</svg>"])


def _drawn(one: Series, colour: str) -> list[str]:
    if one.kind == "dots":
        places = zip(_across(one.x), _up(one.y), strict=True)
        return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    some = np.unique(np.linspace(0, len(one.x) - 1, min(len(one.x), MOST_POINTS)).astype(np.int64))
    return [_line(one.x[some], one.y[some], f'stroke="{colour}" stroke-width="1.5"')]


def _axes(x_label: str, y_label: str) -> list[str]:
    parts = [
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
        'fill="none" stroke="#444"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>',
    ]
    for at in np.linspace(0, 1, 6):
        x, y = _across(np.array([at]))[0], _up(np.array([at]))[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{at:.1f}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{at:.1f}</text>')
    return parts


def _line(x: Floats, y: Floats, style: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(_across(x), _up(y), strict=True))
    return f'<polyline points="{points}" fill="none" {style}/>'


def _across(x: Floats) -> Floats:
    return LEFT + np.clip(x, 0, 1) * (WIDTH - LEFT - RIGHT)


def _up(y: Floats) -> Floats:
    return HEIGHT - BOTTOM - np.clip(y, 0, 1) * (HEIGHT - TOP - BOTTOM)
