"""`skim warmup`: compile the kernels before they are needed."""

import time

import typer


def warmup() -> None:
    """Compile all kernels, so that the next `skim run` starts at once.

    It takes about half a minute the first time and a second or two after that; the compiled code is kept beside the
    package, or where NUMBA_CACHE_DIR says. An image build runs this once.
    """
    from ..consumer.run import warm_up
    from ..consumer.streams.registry import NAMES, stream_of
    from .models import warm_up_model

    for name in NAMES:
        typer.echo(f"skim: compiling what the stream {name} needs …", err=True)
        began = time.monotonic()
        warm_up(stream_of(name), warm_up_model(name))
        typer.echo(f"skim: {name} is ready ({time.monotonic() - began:.1f} s)", err=True)
