"""Marks of a picture: words, bars, paths. Pixels, from the top left corner."""

from html import escape


def words(
    x: float, y: float, text: str, size: float = 11, anchor: str = "start", fill: str = "#24292e", bold: bool = False
) -> str:
    """A line of text.

    >>> words(1, 2, "a < b")
    '<text x="1.0" y="2.0" font-size="11" text-anchor="start" fill="#24292e">a &lt; b</text>'
    """
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:.0f}"'
    return f'<text {place} text-anchor="{anchor}" fill="{fill}"{weight}>{escape(text)}</text>'


def bar(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0) -> str:
    """A filled rectangle."""
    faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"{faint}/>'


def path(commands: str, stroke: str, fill: str = "none", dashed: bool = False) -> str:
    """Lines along SVG's path commands, or an area."""
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<path d="{commands}" stroke="{stroke}" fill="{fill}"{dashes}/>'
