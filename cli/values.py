"""Values as people write them on a command line."""

import re

import typer

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def rate(text: str) -> float | None:
    """Events a second, or `max` for no limit (None).

    >>> rate("200"), rate("max")
    (200.0, None)
    """
    if text == "max":
        return None
    value = _number(text, "a rate is a number of events a second, or max")
    if value <= 0:
        raise typer.BadParameter("a rate is above 0")
    return value


def share(text: str) -> float:
    """A share, with or without a percent sign.

    >>> share("0.5%"), share("0.005")
    (0.005, 0.005)
    """
    percent = text.endswith("%")
    value = _number(text.removesuffix("%"), "a share is a number or a percentage, like 0.5%")
    value = value / 100 if percent else value
    if not 0 <= value <= 1:
        raise typer.BadParameter("a share lies between 0 and 100%")
    return value


def seconds(text: str) -> float:
    """A duration.

    >>> seconds("20s"), seconds("2m"), seconds("90")
    (20.0, 120.0, 90.0)
    """
    match = re.fullmatch(r"([0-9.]+)\s*(s|m|min|h|)", text)
    if not match:
        raise typer.BadParameter("a duration is a number with s, m or h, like 20s")
    value = _number(match[1], "a duration is a number with s, m or h, like 20s") * _UNITS[match[2]]
    if value <= 0:
        raise typer.BadParameter("a duration is above 0")
    return value


def _number(text: str, problem: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(problem) from error
