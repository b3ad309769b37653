"""`skim models`, and finding one: the user's own bundle, or the demo model that comes with the package."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import scoring
from .activate import BoardName, Config, Redis, activate, rollback, shadow, shared
from .fink import import_fink

if TYPE_CHECKING:
    from ..scoring.model import Model

# Streams without a demo model: nothing simulates them, and the survey's alerts aren't ours to learn from.
UNTRAINED = ("lsst",)

models = typer.Typer(no_args_is_help=True, help="Model bundles: what they are, which one is in force.")
for verb in (activate, shadow, rollback):
    models.command()(verb)
models.command("import-fink")(import_fink)


@models.command("list")
def list_bundles(
    names: Annotated[list[str], typer.Argument(help="Folders of bundles, or one stream.", metavar="FOLDER…|STREAM")],
    redis: Redis = None,
    config: Config = None,
    board: BoardName = None,
) -> None:
    """Say what bundles are; or, of a stream, which was in force when, and from which offsets on it scored.

    A bundle's line: folder, id, stream, number of features and their hash, kind of forest, where it is from. Each is
    read and checked as a worker would; the first that is damaged ends the list with an error.
    """
    from ..consumer.config import load_settings
    from ..consumer.streams.registry import NAMES
    from ..scoring.model import Model

    known = (*NAMES, *load_settings(config, {}).own)
    if len(names) == 1 and names[0] in known and not Path(names[0]).is_dir():
        _history(names[0], redis, config, board)
        return
    for folder in map(Path, names):
        model = Model.load(folder)
        features = f"{len(model.features)} features {model.features_hash}"
        origin = ", ".join(map(str, model.training.get("source", []))) or "unknown"
        regime = f" regime {model.forest.regime}" if model.forest.kind == "bands" else ""
        typer.echo(f"{folder}  {model.id}  {model.stream}  {features}  {model.forest.kind}{regime}  from {origin}")


def _history(stream: str, redis: str | None, config: Path | None, board: str | None) -> None:
    bundles = shared(stream, redis, config, board)
    active, own = bundles.active(), "the workers' own"
    typer.echo(f"in force: {active.model or own}; shadow: {active.shadow or 'none'}")
    for one in bundles.history():
        typer.echo(f"{one.at}  {one.by}: {one.model or own}, shadow: {one.shadow or 'none'}")
    for partition, switches in sorted(bundles.switches().items()):
        typer.echo(f"{partition}: " + ", ".join(f"from {offset} {model}" for offset, model in switches.items()))


def load_model(stream: str, folder: Path | None, own: bool = False) -> "Model":
    """The bundle in `folder`, else the demo model of `stream`. Raises `ModelError` if it is missing or damaged.

    A stream of one's own has no demo model.
    """
    from ..scoring.errors import ModelError
    from ..scoring.model import Model

    if folder is not None:
        return Model.load(folder)
    if own:
        how = f"`skim train {stream} --config FILE … -o FOLDER`, then name the FOLDER: --model, or model in the file"
        raise ModelError(f"the stream {stream} has none yet: {how}", where="model")
    if stream in UNTRAINED:
        how = f"train one with `skim train {stream} ALERTS… -o my-model`, then give --model my-model"
        raise ModelError(f"no model of the stream {stream} comes with the package: {how} (docs/{stream}.md)")
    with resources.as_file(resources.files(scoring).joinpath("models", f"{stream}-demo")) as shipped:
        return Model.load(shipped)


def warm_up_model(stream: str) -> "Model":
    """A model to compile the kernels of a stream with: the demo model, or one with the same kind of forest."""
    return load_model("ztf" if stream in UNTRAINED else stream, None)
