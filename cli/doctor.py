"""`skim doctor`: is everything there that a worker needs?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..consumer.doctor.finding import Finding

COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


def doctor(
    stream: Annotated[
        str | None, typer.Argument(help="ztf, lsst, behaviour, observation, or one that --config defines.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    preset: Annotated[str | None, typer.Option(help="A public stream; `skim presets` lists them.")] = None,
    topic: Annotated[str | None, typer.Option(help="Kafka topic; the stream's name by default.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    redis: Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of a model bundle.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="What isn't known after so long is a problem.")] = 12.0,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a finding.")] = False,
) -> None:
    """See whether everything is there that `skim run` needs with the same settings, and say what to do if it isn't.

    Brokers (TLS, login, topic, group, dead letters), Redis (version, persistence, memory), the schema registry, the
    model, this machine. It only looks: nothing is written, created, or read from the topic for good. Exit code 0: no
    problem (there may be warnings); 1: at least one. docs/operations.md has every finding by its name.
    """
    from ..consumer.config import load_settings
    from ..consumer.doctor.examine import examine
    from ..consumer.doctor.stack import checks
    from .models import load_model

    flags = {
        "preset": preset,
        "stream": stream,
        "topic": topic,
        "model": model,
        "kafka": {"bootstrap": kafka},
        "redis": {"url": redis},
    }
    settings = load_settings(config, flags)
    every = checks(settings, lambda: load_model(settings.stream, settings.model, own=settings.definition is not None))
    problems = 0
    for finding in examine(every, seconds):
        problems += finding.level == "problem"
        if json_lines:
            typer.echo(json.dumps(asdict(finding)))
        else:
            show(finding)
    if problems:
        raise typer.Exit(1)


def show(finding: "Finding") -> None:
    """One finding for people; what servers said is shown without control characters."""
    from .table import printable

    level = typer.style(f"{finding.level:8}", fg=COLOURS[finding.level])
    name = "" if finding.id == "ok" else f"  [{finding.id}]"
    typer.echo(f"{level} {finding.check:13} {printable(finding.says)}{name}")
    if finding.do:
        typer.echo(f"{'':22} → {finding.do}")
