"""What files of deployments say about `skim`: its variables and its commands, held against the code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel

from skimstream.cli.main import app
from skimstream.consumer.config import Settings

ROOT = Path(__file__).resolve().parents[2]
# A name and a tag that says which release it is: not latest, not only a major version.
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.-]+)?")
# Of `skim serve`; the others are settings.
OF_COMMANDS = {"SKIM_API_TOKEN"}
# What a worker takes to stop at most, in seconds: a batch in hand, dead letters, a last checkpoint.
STOPPING = float(Settings().model_dump().get("shutdown", {"seconds": 20.0})["seconds"])


def variables(model: type[BaseModel] = Settings, prefix: str = "SKIM_") -> Iterator[str]:
    """The environment variables that are settings."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from variables(kind, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper()


def unknown(environment: Mapping[str, str]) -> set[str]:
    """Its SKIM_ variables that nothing reads. `deploy/skim.sh` reads those that end in _FILE."""
    ours = {name.removesuffix("_FILE") for name in environment if name.startswith("SKIM_")}
    return ours - set(variables()) - OF_COMMANDS


def parse(words: Sequence[str]) -> str:
    """The verb of a command line of `skim`; raises `KeyError`, or what is wrong with its options."""
    verb, *options = [word for word in words if word not in ("-v", "-q")]
    command = vars(typer.main.get_command(app))["commands"][verb]
    with command.make_context(verb, options):
        return verb


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
