"""`skim presets`: the public alert streams that have a preset."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..consumer.preset import Preset

READ_ONLY = (
    "Nobody writes there: name a Kafka of yours for dead letters and alerts (SKIM_OUTGOING__BOOTSTRAP), or the first "
    "message that can't be read ends the worker."
)


def presets(
    name: Annotated[str | None, typer.Argument(help="One of them, in full; all if none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a preset.")] = False,
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Of one: a file to start from, where a stream of your own is needed.")
    ] = False,
) -> None:
    """Show the public alert streams that `skim run --preset NAME` reads, and what you need for each.

    A preset is settings (brokers, login, topic, framing, schemas) that hold where you say nothing else: flags, the
    environment and your file come before it. With NAME: what you need, what it sets, the lines to start with, and what
    nobody has confirmed.

    Examples:

      skim presets

      skim presets rubin

      skim presets gcn --toml > skim.toml
    """
    from ..consumer import preset as known

    found = [known.preset_of(name)] if name else known.presets()
    if as_toml:
        if not name:
            raise typer.BadParameter("of which? skim presets NAME --toml", param_hint="--toml")
        typer.echo(found[0].own.strip() or f'preset = "{name}"')
    elif as_json:
        for one in found:
            typer.echo(json.dumps(one.model_dump(mode="json")))
    elif name:
        typer.echo(in_full(found[0]))
    else:
        table(found)


def table(found: "list[Preset]") -> None:
    """A line a preset."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    lines = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("preset", "stream", "login", "you name", "what it is"):
        lines.add_column(column, no_wrap=column == "preset", overflow="fold")
    for one in found:
        required = ", ".join(key.removeprefix("kafka.options.") for key in one.required if key != "stream")
        stream = str(one.settings.get("stream", "your own"))
        login = {"": "none", "user": "password", "client": "OIDC"}[one.login]
        lines.add_row(one.name, stream, login, required, one.title)
    console = Console()
    console.print(lines)
    console.print("skim presets NAME: what you need, and the lines to start with")


def in_full(one: "Preset") -> str:
    """All that is known of one, as text."""
    parts = [f"{one.name}: {one.title}", f"A message: {one.gives}.", f"Kept there: {one.retention}."]
    parts.append(_listed("You need", one.needs))
    parts.append(_listed("It sets, where you don't", _assignments(one.settings)))
    if one.required:
        parts.append(_listed("You set", [f"{key}: {what}" for key, what in one.required.items()]))
    parts.append("Start:\n" + _indented(one.start))
    if one.own:
        parts.append("A file to start from (skim presets " + one.name + " --toml > skim.toml):\n" + _indented(one.own))
    parts.append(_listed("Mind", (*one.notes, READ_ONLY) if one.read_only else one.notes))
    parts += [_listed("Not confirmed", one.unconfirmed)] if one.unconfirmed else []
    return "\n\n".join(parts)


def _assignments(settings: Any) -> list[str]:
    from ..consumer.origins import leaves
    from .settings_file import key, toml

    return [f"{'.'.join(map(key, place))} = {toml(value)}" for place, value in leaves(settings)]


def _listed(head: str, lines: Any) -> str:
    return "\n".join([f"{head}:", *(f"  - {line}" for line in lines)])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
