"""`skim run`: the worker."""

import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..schemas.errors import SkimError


class LeftUndone(SkimError):
    """The worker was told to stop, and some partitions went without a last checkpoint."""

    def __init__(self, partitions: Sequence[str]) -> None:
        super().__init__(f"stopped, but {not_saved(partitions)}")
        self.partitions = tuple(partitions)


def run(
    stream: Annotated[
        str | None, typer.Argument(help="ztf, lsst, behaviour, observation, or one that --config defines.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    preset: Annotated[str | None, typer.Option(help="A public stream; `skim presets` lists them.")] = None,
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
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            "--start",
            help="earliest, latest, a time (2026-11-20T03:00Z) or a file of offsets; for partitions never read before.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="End there, saved: now (what the topic has), a time, or a file of offsets.")
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics; 0 takes a free one.")] = None,
) -> None:
    """Score a Kafka topic and keep the most anomalous objects of each night in Redis.

    Settings come from defaults, a preset, the TOML file, the environment (SKIM_KAFKA__BOOTSTRAP=…) and these flags;
    later ones win. Ctrl-C (or SIGTERM) finishes the batch in hand and saves, within shutdown.seconds; twice ends at
    once. The last line is one JSON object: what became of every message. Exit code 0: all is saved.
    """
    from ..consumer.config import load_settings
    from ..consumer.login import require, unwritable
    from ..consumer.run import run as run_worker
    from ..consumer.worker import Worker
    from .backfill import Backfill
    from .begun import goes_on
    from .deadline import Deadline
    from .models import load_model
    from .signals import stop_flag

    settings = load_settings(
        config,
        {
            "preset": preset,
            "stream": stream,
            "topic": topic,
            "framing": framing,
            "model": model,
            "kafka": {"bootstrap": kafka, "group": group, "start": start, "until": until},
            "redis": {"url": redis},
            "batch": {"size": batch},
            "metrics": {"port": metrics_port},
        },
    )
    require(settings)
    if (warning := unwritable(settings)) is not None:
        typer.echo(f"skim: {warning}", err=True)
    if start is not None and (warning := goes_on(settings)):
        typer.echo(f"skim: {warning}", err=True)
    stopping = stop_flag()
    typer.echo("skim: loading (the very first start compiles the kernels: up to half a minute) …", err=True)
    loaded = load_model(settings.stream, settings.model, own=settings.definition is not None)

    def ready(port: int, problem: str | None) -> None:
        settle()
        doing = f"waiting: {problem}" if problem else f"scoring {settings.stream}"
        typer.echo(f"skim: {doing}; model {loaded.id}, metrics on port {port}; Ctrl-C to stop", err=True)

    workers: list[Worker] = []

    def undone() -> str:
        return not_saved([name for worker in workers for name in worker.unfinished])

    told = start is not None or bool(settings.kafka.until) or sys.stderr.isatty()
    with Deadline(settings.shutdown.seconds, undone), Backfill(workers, bool(settings.kafka.until), told):
        report = run_worker(settings, loaded, stopping.is_set, ready, began=workers.append)
    if settings.kafka.until and not (report.unsaved or stopping.is_set()):
        typer.echo(f"skim: read until {settings.kafka.until}, and saved", err=True)
    typer.echo(json.dumps(asdict(report.tally)))
    if report.unsaved:
        raise LeftUndone(report.unsaved)


def settle() -> None:
    """What is loaded by now stays: garbage collections needn't look at it again; a full one took 70 ms for it."""
    gc.collect()
    gc.freeze()


def not_saved(partitions: Sequence[str]) -> str:
    """What a stop left undone, and what comes of it.

    >>> not_saved(["alerts/3"])
    'not saved: alerts/3; nothing is lost: the next owner learns again from the last checkpoint, and goes on'
    """
    if not partitions:
        return "its partitions are saved; it may not have left the group, which then waits for session.timeout.ms"
    names = ", ".join(partitions)
    return f"not saved: {names}; nothing is lost: the next owner learns again from the last checkpoint, and goes on"
