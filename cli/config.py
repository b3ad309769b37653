"""`skim config`: the settings in force, and where each came from."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..consumer.config import Settings
    from ..consumer.origins import Setting


def config(
    stream: Annotated[
        str | None, typer.Argument(help="ztf, lsst, behaviour, observation, or one that --config defines.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    preset: Annotated[str | None, typer.Option(help="A public stream; `skim presets` lists them.")] = None,
    topic: Annotated[str | None, typer.Option(help="As for `skim run`.")] = None,
    kafka: Annotated[str | None, typer.Option(help="As for `skim run`.")] = None,
    redis: Annotated[str | None, typer.Option(help="As for `skim run`.")] = None,
    group: Annotated[str | None, typer.Option(help="As for `skim run`.")] = None,
    model: Annotated[Path | None, typer.Option(help="As for `skim run`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="A settings file instead: it gives the same again.")] = False,
) -> None:
    """Show what `skim run` would do with the same arguments: every setting, and where it came from.

    Origins: default, preset NAME, FILE:LINE, the name of an environment variable, a flag. Below them, the options that
    librdkafka is given. Secrets are masked; with --toml they are left out, each with a comment that says where it came
    from. Wrong settings are an error (exit code 2) that names each of them.
    """
    from ..consumer.config import load_settings
    from ..consumer.login import lacking, login_of
    from ..consumer.origins import Origins, effective, librdkafka
    from ..consumer.run import group_options, kafka_options
    from ..consumer.source import consumer_options

    if as_json and as_toml:
        raise typer.BadParameter("--json or --toml, not both", param_hint="--toml")
    given = {
        ("preset",): ("--preset", preset),
        ("stream",): ("STREAM", stream),
        ("topic",): ("--topic", topic),
        ("kafka", "bootstrap"): ("--kafka", kafka),
        ("kafka", "group"): ("--group", group),
        ("redis", "url"): ("--redis", redis),
        ("model",): ("--model", model),
    }
    flags = {
        "preset": preset,
        "stream": stream,
        "topic": topic,
        "kafka": {"bootstrap": kafka, "group": group},
        "redis": {"url": redis},
    }
    settings = load_settings(file, {**flags, "model": model})
    told = {place: name for place, (name, value) in given.items() if value is not None}
    origins = Origins(file, told, preset=settings.preset)
    found = effective(settings, origins)
    if as_toml:
        from .settings_file import settings_file

        typer.echo(settings_file(found, definitions(settings, origins.data)), nl=False)
        return
    login = login_of(settings)
    everything = consumer_options({**kafka_options(settings), **group_options(settings)})
    options = librdkafka(everything, origins, login.origins)
    for lack in lacking(settings, login):
        typer.echo(f"skim: {lack.says}", err=True)
    if as_json:
        typer.echo(json.dumps({"settings": entries(found), "librdkafka": entries(options)}, default=str))
        return
    show(found)
    typer.echo("\nlibrdkafka, the worker's consumer:")
    show(options)


def definitions(settings: "Settings", data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The streams that the file defines, with files named so that they are found from anywhere."""
    found = {}
    for name, own in settings.own.items():
        paths = {"model": own.model, "schema": own.schema_file}
        resolved = {key: str(path.absolute()) for key, path in paths.items() if path is not None}
        found[name] = {**data["stream"][name], **resolved}
    return found


def entries(settings: Iterable["Setting"]) -> list[dict[str, Any]]:
    """As JSON has them."""
    return [
        {"key": ".".join(one.key), "value": one.value, "origin": one.origin, "masked": one.masked} for one in settings
    ]


def show(settings: list["Setting"]) -> None:
    """A line a setting: key, value, origin; what isn't a default stands out on a terminal."""
    from .settings_file import key, toml
    from .table import printable

    rows = [(".".join(map(key, one.key)), "none" if one.value is None else toml(one.value), one) for one in settings]
    first = max((len(name) for name, _, _ in rows), default=0)
    second = min(50, max((len(value) for _, value, _ in rows), default=0))
    for name, value, one in rows:
        line = printable(f"{name:{first}}  {value:{second}}  {one.origin}")
        typer.echo(typer.style(line, dim=one.origin in ("default", "skim"), bold=None))
