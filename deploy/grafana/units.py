"""Numbers as Grafana writes them, by its names of units."""

import math

_PREFIXES = ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, " "))
_A_SECOND = {"mps": "", "eps": "", "cps": "", "ops": "", "reqps": "", "Bps": "B"}


def written(value: float, unit: str) -> str:
    """A number in its unit.

    >>> written(0.0123, "s"), written(0.25, "percentunit"), written(2.5e6, "bytes"), written(460, "mps")
    ('12.3 ms', '25 %', '2.5 MB', '460 /s')
    >>> written(0.0, "short"), written(12345.0, "short"), written(90, "s"), written(math.nan, "s")
    ('0', '12.3 k', '90 s', '–')
    """
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return next(
            f"{_rounded(value * by)} {name}"
            for by, name in ((1, "s"), (1e3, "ms"), (1e6, "µs"))
            if _fits(value * by) or by == 1e6
        )
    text = _prefixed(value)
    if unit in _A_SECOND:
        return f"{text}{'' if text[-1].isalpha() else ' '}{_A_SECOND[unit]}/s"
    return f"{text}{'' if text[-1].isalpha() else ' '}B" if unit == "bytes" else text


def _fits(value: float) -> bool:
    return value == 0 or abs(value) >= 1


def _prefixed(value: float) -> str:
    for size, name in _PREFIXES:
        if abs(value) >= size:
            return f"{_rounded(value / size)}{name}".rstrip()
    return _rounded(value)


def _rounded(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
