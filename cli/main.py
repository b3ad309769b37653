"""The command `skim`: one file a verb. Verbs import what they need when they run, so that `--help` is instant."""

import logging
import signal
import sys
from typing import Annotated

import typer

from ..schemas.errors import SkimError
from .config import config
from .demo import demo
from .dlq import dlq
from .doctor import doctor
from .evaluate import evaluate
from .explain import explain
from .init import init
from .join import join
from .lag import lag
from .models import models
from .notify import notify
from .presets import presets
from .replay import replay
from .run import run
from .serve import serve
from .signals import KILLED_BY
from .simulate import simulate
from .top import top
from .train import train
from .warmup import warmup

app = typer.Typer(
    name="skim",
    help="Skimstream: score a stream of alerts or events as they arrive, and keep the most anomalous at hand.\n\n"
    "Start with `skim demo`: it needs no server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (
    demo,
    init,
    presets,
    run,
    replay,
    simulate,
    join,
    train,
    evaluate,
    top,
    lag,
    explain,
    serve,
    notify,
    warmup,
    doctor,
    config,
):
    app.command()(verb)
app.add_typer(dlq, name="dlq")
app.add_typer(models, name="models")

# By name, since importing them would take the time that `--help` has.
WRONG_USE = frozenset(
    {"ConfigError", "CredentialsError", "DefinitionError", "NotReady", "UnknownFormat", "UnknownPreset"}
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"skimstream {version('skimstream')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="More log; twice for everything.")] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    log_format: Annotated[
        str,
        typer.Option(envvar="SKIM_LOG", help="auto, json or text; auto is text on a terminal, JSON lines elsewhere."),
    ] = "auto",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every verb."""
    from .logs import configure

    configure(logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)], log_format)


def main() -> None:
    """Entry point: 0 = done, 1 = something failed (the message says what to do), 2 = wrong usage or settings."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(KILLED_BY + signal.SIGINT)
    except SkimError as error:
        typer.echo(f"skim: {error}", err=True)
        sys.exit(2 if type(error).__name__ in WRONG_USE else 1)


if __name__ == "__main__":
    main()
