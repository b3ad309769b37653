"""`skim top`: the most anomalous objects of a night."""

import json
from pathlib import Path
from typing import Annotated

import typer


def top(
    stream: Annotated[str, typer.Argument(help="ztf, lsst, behaviour, observation, or one of your own.")] = "ztf",
    night: Annotated[str | None, typer.Option(help="YYYY-MM-DD; the latest on the board if none.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many.")] = 10,
    redis: Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with all details.")] = False,
) -> None:
    """Show the most anomalous objects of a night, and why each is there."""
    from ..consumer.board import read_nights, read_top
    from ..consumer.config import load_settings
    from ..consumer.run import connect

    client = connect(load_settings(config, {"redis": {"url": redis}}), retries=1)
    nights = [night] if night else read_nights(client, stream)[:1]
    entries = read_top(client, stream, nights[0], n) if nights else []
    if as_json:
        for entry in entries:
            typer.echo(json.dumps(entry))
        return
    from rich.console import Console

    from .table import top_table

    if entries:
        Console().print(top_table(f"{stream}, night of {nights[0]}", entries))
    else:
        typer.echo(f"nothing on the board of {stream}{f' for {nights[0]}' if nights else ''} yet", err=True)
