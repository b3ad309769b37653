"""A light curve as a small picture, for messages: PNG, by Pillow."""

import io
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from .streams.base import LightCurve

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 40
MJD_IN_JD = 2_400_000.5
PAPER, INK, GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
# r is told apart by its shape too.
COLOURS = {
    "u": (110, 60, 170),
    "g": (15, 125, 60),
    "r": (200, 40, 40),
    "i": (180, 105, 0),
    "z": (90, 70, 60),
    "y": (60, 60, 60),
}
TICKS = 5

At = Callable[[float, float], tuple[float, float]]


class Point(NamedTuple):
    """One row of a light curve: `error` is None for an upper limit."""

    time: float
    value: float
    error: float | None
    band: str


def draw(curve: LightCurve, title: str) -> bytes | None:
    """PNG of magnitudes (bright is up; triangles are upper limits) or fluxes over MJD; None if nothing can be drawn."""
    in_flux = "flux" in curve
    points = _points(curve, in_flux)
    if not points:
        return None
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    times = _axis([point.time for point in points])
    values = _axis([point.value + side for point in points for side in (-(point.error or 0), point.error or 0)])

    def at(time: float, value: float) -> tuple[float, float]:
        x = (time - times[0]) / (times[1] - times[0])
        y = (value - values[0]) / (values[1] - values[0])
        return LEFT + x * (WIDTH - LEFT - RIGHT), TOP + ((1 - y) if in_flux else y) * (HEIGHT - TOP - BOTTOM)

    _frame(pen, times, values, in_flux)
    for point in points:
        _mark(pen, at, point)
    pen.text((LEFT, 10), title.encode("ascii", "replace").decode(), fill=INK)
    for place, band in enumerate(sorted({point.band for point in points})):
        pen.text((WIDTH - RIGHT - 24 * (place + 1), 10), band, fill=COLOURS.get(band, INK))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _points(curve: LightCurve, in_flux: bool) -> list[Point]:
    columns: Sequence[Sequence[object]] = [curve.get(name, []) for name in ("jd", "band")]
    values = curve["flux"] if in_flux else curve.get("mag", [])
    limits = [None] * len(values) if in_flux else curve.get("limit", [None] * len(values))
    points = []
    for time, band, value, error, limit in zip(*columns, values, curve.get("sigma", []), limits, strict=False):
        if not isinstance(time, float):
            continue
        if isinstance(value, float):
            points.append(Point(time - MJD_IN_JD, value, error if isinstance(error, float) else 0.0, str(band)))
        elif isinstance(limit, float):
            points.append(Point(time - MJD_IN_JD, limit, None, str(band)))
    return points


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values' range."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _frame(pen: ImageDraw.ImageDraw, times: tuple[float, float], values: tuple[float, float], in_flux: bool) -> None:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for place in range(TICKS):
        part = place / (TICKS - 1)
        x, y = LEFT + part * (right - LEFT), TOP + part * (bottom - TOP)
        pen.line((x, TOP, x, bottom), fill=GRID)
        pen.line((LEFT, y, right, y), fill=GRID)
        time, value = (low + part * (high - low) for low, high in (times, values[::-1] if in_flux else values))
        pen.text((x - 24 * part, bottom + 6), f"{time:.1f}", fill=INK)
        pen.text((6, y - 6), f"{value:.5g}", fill=INK)
    pen.rectangle((LEFT, TOP, right, bottom), outline=INK)
    pen.text(((LEFT + right) / 2 - 12, HEIGHT - 16), "MJD", fill=INK)
    pen.text((6, 10), "nJy" if in_flux else "mag", fill=INK)


def _mark(pen: ImageDraw.ImageDraw, at: At, point: Point) -> None:
    colour = COLOURS.get(point.band, INK)
    x, y = at(point.time, point.value)
    if point.error is None:
        pen.polygon([(x - 4, y - 3), (x + 4, y - 3), (x, y + 4)], outline=colour)
        return
    if math.isfinite(point.error):
        pen.line((*at(point.time, point.value - point.error), *at(point.time, point.value + point.error)), fill=colour)
    if point.band == "r":
        pen.rectangle((x - 3, y - 3, x + 3, y + 3), fill=colour)
    else:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
