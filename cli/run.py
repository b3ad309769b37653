"""`skim run`: the worker."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def run(
    stream: Annotated[
        str | None, typer.Argument(help="ztf, lsst, behaviour, observation, or one that --config defines.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    topic: Annotated[str | None, typer.Option(help="Kafka topic; the stream's name by default.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    redis: Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")] = None,
    framing: Annotated[
        str | None, typer.Option(help="auto, container, confluent, key, plain, bson or json; the stream's own if none.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of a model bundle; the demo model if none (there is none of lsst).")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Messages a batch at most; no effect on scores.")] = None,
    start: Annotated[str | None, typer.Option(help="earliest or latest, for partitions never read before.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics; 0 takes a free one.")] = None,
) -> None:
    """Score a Kafka topic and keep the most anomalous objects of each night in Redis.

    Settings come from defaults, the TOML file, the environment (SKIM_KAFKA__BOOTSTRAP=…) and these flags; later ones
    win. Ctrl-C finishes the batch in hand; twice ends at once. The last line is one JSON object: what became of every
    message.
    """
    from ..consumer.config import load_settings
    from ..consumer.run import run as run_worker
    from .models import load_model
    from .signals import stop_flag

    settings = load_settings(
        config,
        {
            "stream": stream,
            "topic": topic,
            "framing": framing,
            "model": model,
            "kafka": {"bootstrap": kafka, "group": group, "start": start},
            "redis": {"url": redis},
            "batch": {"size": batch},
            "metrics": {"port": metrics_port},
        },
    )
    stopping = stop_flag()
    typer.echo("skim: loading (the very first start compiles the kernels: up to half a minute) …", err=True)
    loaded = load_model(settings.stream, settings.model, own=settings.definition is not None)

    def ready(port: int, problem: str | None) -> None:
        doing = f"waiting: {problem}" if problem else f"scoring {settings.stream}"
        typer.echo(f"skim: {doing}; model {loaded.id}, metrics on port {port}; Ctrl-C to stop", err=True)

    report = run_worker(settings, loaded, stopping.is_set, ready)
    typer.echo(json.dumps(asdict(report.tally)))
