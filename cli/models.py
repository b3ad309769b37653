"""Finding a model: the user's own bundle, or the demo model that comes with the package."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from .. import scoring

if TYPE_CHECKING:
    from ..scoring.model import Model


def load_model(stream: str, folder: Path | None) -> "Model":
    """The bundle in `folder`, else the demo model of `stream`. Raises `ModelError` if it is missing or damaged."""
    from ..scoring.model import Model

    if folder is not None:
        return Model.load(folder)
    with resources.as_file(resources.files(scoring).joinpath("models", f"{stream}-demo")) as shipped:
        return Model.load(shipped)
