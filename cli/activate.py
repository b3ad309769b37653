"""`skim models activate`, `shadow`, `rollback`: which model the running workers of a stream score with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..consumer.bundles import Bundles
    from ..scoring.model import Model

Redis = Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")]
BoardName = Annotated[str | None, typer.Option("--board", help="The board's name; the stream's if none.")]


def activate(
    folder: Annotated[Path, typer.Argument(help="The bundle to score with.")],
    redis: Redis = None,
    config: Config = None,
    board: BoardName = None,
) -> None:
    """Have the running workers of the bundle's stream score with it, without a restart.

    The bundle goes to Redis, so workers elsewhere need no copy. Within about a second each partition switches to it, at
    an offset that is recorded. It goes before the bundle that workers were started with, also when they start again.
    """
    model = checked(folder, config)
    shared(model.stream, redis, config, board).activate(model)
    typer.echo(f"{model.id} is in force for {board or model.stream}; `skim models rollback` undoes it", err=True)


def shadow(
    folder: Annotated[Path | None, typer.Argument(help="The bundle to try; none with --off.")] = None,
    off: Annotated[str | None, typer.Option("--off", metavar="STREAM", help="End the shadow of this stream.")] = None,
    redis: Redis = None,
    config: Config = None,
    board: BoardName = None,
) -> None:
    """Let a second bundle score the same events beside the first, and change nothing.

    Its scores are in the metrics (skim_shadow_verdicts_total), on the board, and in a column of `skim top`. It costs as
    much time as the model in force.
    """
    if (folder is None) == (off is None):
        raise typer.BadParameter("name a bundle's folder, or --off and a stream")
    if off is not None:
        shared(off, redis, config, board).shadow(None)
        typer.echo(f"{board or off} has no shadow any more", err=True)
    elif folder is not None:
        model = checked(folder, config)
        shared(model.stream, redis, config, board).shadow(model)
        typer.echo(f"{model.id} looks on at {board or model.stream}", err=True)


def rollback(
    stream: Annotated[str, typer.Argument(help="The stream whose last activation is undone.")],
    redis: Redis = None,
    config: Config = None,
    board: BoardName = None,
) -> None:
    """Score with the model again that was in force before; its online parts begin as its training left them.

    Before the first activation workers scored with their own bundles, and so they do again when all is undone.
    """
    active = shared(stream, redis, config, board).rollback()
    typer.echo(f"{active.model or 'the bundle that each worker was started with'} is in force again", err=True)


def checked(folder: Path, config: Path | None) -> "Model":
    """The bundle, if its stream has its features. Raises `ModelError`; `UnknownStream` for one that no file defines."""
    from ..consumer.config import load_settings
    from ..consumer.streams.registry import stream_of
    from ..scoring.model import Model

    model = Model.load(folder)
    model.require(stream_of(model.stream, load_settings(config, {}).own).features)
    return model


def shared(stream: str, redis: str | None, config: Path | None, board: str | None) -> "Bundles":
    """The models that the workers of this board share."""
    from ..consumer.bundles import Bundles
    from ..consumer.config import load_settings
    from ..consumer.run import connect

    settings = load_settings(config, {"redis": {"url": redis}})
    return Bundles(connect(settings, retries=1), board or settings.board.name or stream)
