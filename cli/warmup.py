"""`skim warmup`: compile the kernels before they are needed."""

import time
from pathlib import Path
from typing import Annotated

import typer


def warmup(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file: streams of your own, that have a model.")
    ] = None,
) -> None:
    """Compile all kernels, so that the next `skim run` starts at once.

    It takes about half a minute the first time and a second or two after that; the compiled code is kept beside the
    package, or where NUMBA_CACHE_DIR says. An image build runs this once.
    """
    from ..consumer.config import load_settings
    from ..consumer.run import warm_up
    from ..consumer.streams.registry import NAMES, stream_of
    from .models import load_model, warm_up_model

    own = load_settings(config, {}).own
    folders = {name: one.model for name, one in own.items() if one.model is not None}
    for name in (*NAMES, *folders):
        typer.echo(f"skim: compiling what the stream {name} needs …", err=True)
        began = time.monotonic()
        model = load_model(name, folders[name]) if name in folders else warm_up_model(name)
        warm_up(stream_of(name, own), model)
        typer.echo(f"skim: {name} is ready ({time.monotonic() - began:.1f} s)", err=True)
