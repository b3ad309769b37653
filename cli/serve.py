"""`skim serve`: the page of the board, and its HTTP API."""

import ipaddress
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import redis as redis_library

    from ..consumer.streams.own import Own
    from ..scoring.model import Model

NONE: "Mapping[str, Own]" = MappingProxyType({})
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Beyond it connections get 503 at once; each that waits costs some kilobytes.
CONNECTIONS = 1_000
KEEP_ALIVE_SECONDS = 10
GOODBYE_SECONDS = 2  # for answers in hand; those who follow the stream would never end by themselves


def serve(
    redis: Annotated[str | None, typer.Option(help="redis://host:port/db of the board.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="SKIM_API_TOKEN", help="Ask clients for it; better set in the environment.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name that clients call this server by; any if it isn't on loopback. Repeatable."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="A bundle for /api/v1/score, of the stream that it names. Repeatable."),
    ] = None,
    per_second: Annotated[float, typer.Option(min=0.01, help="Requests a second and client, after a burst.")] = 20.0,
    burst: Annotated[int, typer.Option(min=1, help="Requests that a client may make at once.")] = 100,
) -> None:
    """Serve the board over HTTP: a live page, tables as Fink's API has them, reasons, and scores for single events.

    It is a process of its own that only reads: workers don't notice it, and any number may run. It listens on loopback,
    without a token; open it to others with --host 0.0.0.0 and a token, behind a proxy that speaks TLS.
    A stream of your own is on the board by name; for /api/v1/score give the --config that defines it.
    Events are scored with the model that `skim models activate` put in force, else --model, else the one that comes
    with the package.

    \b
    skim serve &
    http://127.0.0.1:8000                                                  the page: tonight's list, as it changes
    curl 'http://127.0.0.1:8000/api/v1/anomaly?n=10'                        tonight's ten, as Fink's API gives them
    curl 'http://127.0.0.1:8000/api/v1/anomaly?order=score&night=2026-11-21&output-format=csv'
    curl 'http://127.0.0.1:8000/api/v1/objects?objectId=ZTF26aaaaaaa'       every night that kept it
    curl 'http://127.0.0.1:8000/api/v1/explain/ztf/ZTF26aaaaaaa'            why it is there
    curl -N 'http://127.0.0.1:8000/api/v1/stream?stream=ztf'               rows as they come
    http://127.0.0.1:8000/docs                                             everything else
    """
    import signal

    import uvicorn

    from ..api.app import create_app
    from ..api.gate import Limits
    from ..api.limits import Rate
    from ..api.listen import listen
    from ..consumer.config import load_settings
    from ..consumer.run import connect
    from ..consumer.streams.own import Own

    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise typer.BadParameter("a token is printable ASCII, without spaces around it", param_hint="--token")
    if not token and not _is_loopback(host):
        typer.echo(f"skim: whoever reaches {host}:{port} can read the board: no --token was given", err=True)
    settings = load_settings(config, {"redis": {"url": redis}})
    client = connect(settings, retries=1)
    hosts = [*(allow_host or []), *(LOOPBACK_NAMES if allow_host or _is_loopback(host) else ())]
    limits = Limits(rate=Rate(per_second, burst), hosts=frozenset(name.lower() for name in hosts))
    own = {name: Own(one) for name, one in settings.own.items()}
    folders = [*(one.model for one in settings.own.values() if one.model is not None), *(model or [])]
    app = create_app(client, chosen_model(client, folders, own), token, limits, own=own)
    options = uvicorn.Config(
        app,
        log_config=None,  # as the command logs
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client could name itself as another, and have another's rate
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )
    listening = listen(host, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stop that was asked for is no death
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"
    typer.echo(f"skim: the page is {address}, the API {address}/docs; Ctrl-C to stop", err=True)
    with suppress(KeyboardInterrupt):  # uvicorn finishes what it has in hand, then raises the signal again
        uvicorn.Server(options).run([listening])


def chosen_model(
    client: "redis_library.Redis", folders: list[Path], own: Mapping[str, "Own"] = NONE
) -> Callable[[str], "Model"]:
    """The model of a stream: the one in force, else that of `folders`, else the shipped one; each is read once."""
    from ..consumer.bundles import Bundles
    from ..scoring.model import Model
    from .models import load_model

    given = {one.stream: one for one in map(Model.load, folders)}
    known: dict[tuple[str, str], Model] = {}

    def chosen(stream: str) -> "Model":
        bundles = Bundles(client, stream)
        active = bundles.active().model
        if (stream, active) not in known:
            mine = given.get(stream) if not active else bundles.load(active)
            one = mine or load_model(stream, None, own=stream in own)
            if stream in own:
                one.require(own[stream].features)
            known[stream, active] = one
        return known[stream, active]

    return chosen


def _is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
