"""`skim notify`: a test message, to see that a channel reaches people."""

import time
from pathlib import Path
from typing import Annotated

import typer


def notify(
    channels: Annotated[list[str] | None, typer.Argument(help="Names of [channels.NAME]; all if none.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
) -> None:
    """Send a test message to channels, once each, and say what came of it. Exits 1 if one didn't get through."""
    from ..consumer.channel import ChannelError, Message, NotSent, channel_of
    from ..consumer.config import ConfigError, load_settings

    known = load_settings(config, {}).channels
    wanted = channels or sorted(known)
    if missing := [name for name in wanted if name not in known]:
        there = ", ".join(sorted(known)) or "none"
        raise ConfigError([f"{name}: no such channel; [channels] has {there}" for name in missing], config)
    if not wanted:
        raise ConfigError(["[channels] is empty: see docs/monitor.md"], config)
    failed = 0
    for name in wanted:
        id = f"test/{time.time_ns()}"
        text = "If you can read this, the channel works."
        message = Message(id, "skim: a test", text, {"id": id, "kind": "test", "text": text})
        try:
            channel_of(name, known[name]).send(message)
        except (ChannelError, NotSent) as error:
            failed += 1
            typer.echo(f"{name}: not sent ({error.problem if isinstance(error, ChannelError) else error})")
        else:
            typer.echo(f"{name}: sent")
    if failed:
        raise typer.Exit(1)
