"""Numbers in words for people."""

from collections.abc import Mapping

# What one row of a stream's training is; "events" where nothing is said here.
NOUNS: Mapping[str, str] = {"ztf": "objects", "lsst": "objects", "behaviour": "sessions", "observation": "records"}
# Units that are no words, or not the right ones.
SPOKEN: Mapping[str, str] = {
    "1": "",
    "count": "",
    "0 or 1": "",
    "arbitrary": "",
    "currency": "",
    "bit": "bits",
    "standard deviation": "standard deviations",
}
# Up to here whole numbers are written out.
PLAIN = 1e7
# Between these percentiles a value is usual: 90 % of training.
USUAL_FROM, USUAL_TO = 0.05, 0.95


def noun_of(stream: str) -> str:
    """What to call the events of a stream.

    >>> noun_of("ztf"), noun_of("my-own")
    ('objects', 'events')
    """
    return NOUNS.get(stream, "events")


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """A value with its unit.

    >>> quantity(1.9134, "mag"), quantity(-3.25, "standard deviation"), quantity(39_999.6, "currency")
    ('1.913 mag', '-3.25 standard deviations', '40,000')
    """
    whole = 10**digits <= abs(value) < PLAIN
    return f"{f'{value:,.0f}' if whole else f'{value:.{digits}g}'} {SPOKEN.get(unit, unit)}".rstrip()


def placed(percentile: float | None, rows: int = 0, noun: str = "") -> str:
    """Where a value stands in training, of which `rows` had the feature; a `Reference`'s percentiles claim no more.

    >>> placed(0.998, 5_000, "objects"), placed(0.005, 5_000, "sessions"), placed(0.5)
    ('above 99.8 % of objects', 'below 99.5 % of sessions', 'usual')
    >>> placed(1.0, 5_000, "objects"), placed(0.0), placed(None)
    ('above all 5,000 seen in training', 'below all seen in training', 'never seen in training')
    """
    if percentile is None or percentile != percentile:
        return "never seen in training"
    if USUAL_FROM < percentile < USUAL_TO:
        return "usual"
    side, share = ("above", percentile) if percentile > 0.5 else ("below", 1 - percentile)
    if share == 1:
        return f"{side} all {f'{rows:,} ' if rows else ''}seen in training"
    return f"{side} {100 * share:.4g} %{f' of {noun}' if noun else ''}"
