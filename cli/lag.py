"""`skim lag`: how far a stream is in its topic."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from ..consumer.lag import Lag

WATCH_SECONDS = 2.0


def lag(
    stream: Annotated[
        str | None, typer.Argument(help="ztf, lsst, behaviour, observation, or one that --config defines.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    preset: Annotated[str | None, typer.Option(help="A public stream; `skim presets` lists them.")] = None,
    topic: Annotated[str | None, typer.Option(help="Kafka topic; the stream's name by default.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    redis: Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object; --from and --until take it as a file.")
    ] = False,
    watch: Annotated[bool, typer.Option(help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """Show how far a stream is in its topic: per partition the board's offset, what the topic has, and what is left.

    The board's offset is the truth; Kafka's group has a copy of it for other tools, which may be a second behind. It
    joins no group and changes nothing: ask while workers run, or when none does.
    """
    from ..consumer.config import load_settings
    from ..consumer.lag import Surveyor
    from ..consumer.login import require
    from ..consumer.run import connect

    flags = {
        "preset": preset,
        "stream": stream,
        "topic": topic,
        "kafka": {"bootstrap": kafka, "group": group},
        "redis": {"url": redis},
    }
    settings = load_settings(config, flags)
    require(settings)
    with connect(settings, retries=1) as client, Surveyor(settings, client) as surveyor:
        if as_json:
            typer.echo(json.dumps(surveyor.look().to_json()))
            while watch:
                time.sleep(WATCH_SECONDS)
                typer.echo(json.dumps(surveyor.look().to_json()))
            return
        from rich.console import Console
        from rich.live import Live

        console = Console()
        if not watch:
            console.print(table_of(surveyor.look()))
            return
        with Live(table_of(surveyor.look()), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(table_of(surveyor.look()), refresh=True)


def table_of(found: "Lag") -> "Table":
    """One line a partition, and their sum."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    alive = found.workers.alive
    said = f"{alive} worker{'' if alive == 1 else 's'} at it" if alive else "no worker at it"
    title = f"{found.stream}: topic {found.topic}, group {found.group}; {said}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("partition", footer="all", justify="right")
    for name in ("board", "low", "high", "kafka's copy"):
        table.add_column(name, justify="right")
    table.add_column("lag", footer=f"{found.total:,}", justify="right")
    table.add_column("", footer=f"not begun: {found.untouched:,} messages" if found.untouched else "")
    several = any(one.partition.topic != found.topic for one in found.stands)  # of a topic a night, some are there
    for one in found.stands:
        numbers = (one.offset, one.low, one.high, one.copy, one.lag)
        said = "not begun" if one.offset is None else one.problem
        partition = one.partition.name if several else str(one.partition.number)
        table.add_row(partition, *("–" if n is None else f"{n:,}" for n in numbers), said)
    return table
