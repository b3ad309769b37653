"""Finding a model: the user's own bundle, or the demo model that comes with the package. `skim models`."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import scoring
from .fink import import_fink

if TYPE_CHECKING:
    from ..scoring.model import Model

models = typer.Typer(no_args_is_help=True, help="Model bundles: what they are, and getting Fink's.")
models.command("import-fink")(import_fink)


@models.command("list")
def list_bundles(
    folders: Annotated[list[Path], typer.Argument(help="Folders of bundles.")],
) -> None:
    """One line a bundle: folder, id, stream, number of features and their hash, kind of forest, where it is from.

    Each is read and checked as a worker would; the first that is damaged ends the list with an error.
    """
    from ..scoring.model import Model

    for folder in folders:
        model = Model.load(folder)
        features = f"{len(model.features)} features {model.features_hash}"
        origin = ", ".join(map(str, model.training.get("source", []))) or "unknown"
        regime = f" regime {model.forest.regime}" if model.forest.kind == "bands" else ""
        typer.echo(f"{folder}  {model.id}  {model.stream}  {features}  {model.forest.kind}{regime}  from {origin}")


def load_model(stream: str, folder: Path | None) -> "Model":
    """The bundle in `folder`, else the demo model of `stream`. Raises `ModelError` if it is missing or damaged."""
    from ..scoring.model import Model

    if folder is not None:
        return Model.load(folder)
    with resources.as_file(resources.files(scoring).joinpath("models", f"{stream}-demo")) as shipped:
        return Model.load(shipped)
