"""`skim demo`: broker, store, simulated streams, workers, a live view and the page in one command."""

import sys
from typing import Annotated

import typer

# Off a terminal nobody can press Ctrl-C with pleasure: a minute shows what there is to see.
UNATTENDED_SECONDS = 60.0


def demo(
    duration: Annotated[str | None, typer.Option("--for", help="Like 20s or 5m; on a terminal, without end.")] = None,
    kafka: Annotated[str | None, typer.Option(help="A real broker, host:port, instead of the embedded one.")] = None,
    redis: Annotated[str | None, typer.Option(help="A real Redis, redis://…, instead of the embedded store.")] = None,
    alerts: Annotated[str, typer.Option(help="Simulated alerts a second.")] = "60",
    sessions: Annotated[str, typer.Option(help="Simulated web sessions a second.")] = "400",
    anomalies: Annotated[str, typer.Option(help="Share of injected anomalies.")] = "0.5%",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same events.")] = 7,
    page_port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the page; 0 takes a free one.")] = 0,
) -> None:
    """Watch anomalies being found: a simulated ZTF-like night and web sessions, through Kafka to a Redis board.

    Needs no server: the broker is librdkafka's mock cluster, the store a Valkey from a wheel. Injected anomalies are
    marked in the lists (their truth travels on a side topic; no worker reads it). One of the first lines is the
    address of the page, for a browser, as long as the demo runs. Ctrl-C stops it, twice at once. The last line is one
    JSON object of the figures in the summary.
    """
    from . import values
    from .performance import Plan, perform

    length = values.seconds(duration) if duration else (None if sys.stdout.isatty() else UNATTENDED_SECONDS)
    rates = {"ztf": values.rate(alerts), "behaviour": values.rate(sessions)}
    perform(Plan(length, kafka, redis, rates, values.share(anomalies), seed, page_port))
