"""`skim explain`: why an object is on the board, feature by feature."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..schemas.errors import SkimError

if TYPE_CHECKING:
    import redis

# So many of the board's objects are named where the one that was asked for isn't among them.
SUGGESTED = 5


def explain(
    stream: Annotated[str, typer.Argument(help="ztf, lsst, behaviour, observation, or one of your own.")],
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="EVENT|OBJECT", help="An id as `skim top` shows it, or an event's; the top if none."),
    ] = None,
    night: Annotated[str | None, typer.Option(help="YYYY-MM-DD; if none, the latest that has it.")] = None,
    redis: Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The board's details, as one JSON object.")] = False,
) -> None:
    """Say why an object is on the board: its score, what each part said, and all features of the event behind it.

    Features are sorted by weight: how rare the value is, and what the parts made of it. A percentile is a place in
    training: "above 99.8 %" is true of at least that share. Under each part's name is the feature's share of all that
    the part said of this event, + towards anomaly, − towards ordinary; the sizes add up to 100 %.

    A part's raw score has a scale of its own; z is the same in standard deviations of the stream's recent past, capped
    to −3 and 8. The combined value is the mean of the z, and the score its percentile among recent events.

    \b
    skim explain ztf                                the most anomalous object of the latest night
    skim explain ztf ZTF26aaaaaaa                   an object, on the latest night that has it
    skim explain behaviour u42 --night 2026-11-21   a user, on that night
    """
    from ..consumer.config import load_settings
    from ..consumer.run import connect

    client = connect(load_settings(config, {"redis": {"url": redis}}), retries=1)
    entry = _found(client, stream, wanted, night)
    if as_json:
        typer.echo(json.dumps(entry))
        return
    from rich.console import Console

    from .sheet import sheet

    Console().print(*sheet(stream, entry), sep="\n")


class NotOnBoard(SkimError):
    """There is no such row. `nights` are those on the board, `objects` the first of one of them."""

    def __init__(self, what: str, nights: Sequence[str], night: str, objects: Sequence[str]) -> None:
        known = f"nights on the board: {', '.join(nights)}; first of {night}: {', '.join(objects)}"
        from .table import printable

        super().__init__(printable(f"{what}; {known}" if nights else f"{what}; start a worker with `skim run`"))
        self.nights, self.objects = nights, objects


def _found(client: "redis.Redis", stream: str, wanted: str | None, night: str | None) -> Mapping[str, Any]:
    """The row of the board that is asked for. Raises `NotOnBoard`."""
    from ..consumer.board import read_nights, read_row, read_top

    nights = read_nights(client, stream)
    for one in [night] if night else nights:
        entry = read_row(client, stream, one, wanted) if wanted else next(iter(read_top(client, stream, one, 1)), None)
        if entry:
            return entry
    shown = night if night in nights else next(iter(nights), "")
    objects = [entry["object"] for entry in read_top(client, stream, shown, SUGGESTED)] if shown else []
    what = (
        f"{f'{wanted} is not' if wanted else 'nothing is'} on the board of {stream}{f' for {night}' if night else ''}"
    )
    raise NotOnBoard(what, _nearest(nights, night), shown, objects)


def _nearest(nights: Sequence[str], night: str | None) -> list[str]:
    """The nights nearest to the one that was asked for, the latest if none was."""
    if night is None:
        return list(nights[:SUGGESTED])
    after = [one for one in nights if one >= night][-SUGGESTED:]
    before = [one for one in nights if one < night][:SUGGESTED]
    return (after[::-1] + before)[:SUGGESTED]
