"""`skim simulate`: made-up alerts, web sessions or archive records, with known anomalies among them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..producer.schema import WriterSchema
    from ..producer.simulate.event import Simulated

TRUTH = ".truth"
# Busy users, so that a short simulation has a history of each.
SESSIONS_A_DAY = 30.0


def simulate(
    stream: Annotated[str, typer.Argument(help="ztf, behaviour or observation.")],
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Kafka topic; the stream's name if none.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    rate: Annotated[str, typer.Option(help="Events a second, or max.")] = "100",
    anomalies: Annotated[str, typer.Option(help="Share of injected anomalies, like 0.5%.")] = "0.5%",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many events.")] = 10_000,
    night: Annotated[str, typer.Option(help="Date of the first event, YYYY-MM-DD.")] = "2026-11-21",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same events.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write an Avro file instead of sending.")] = None,
    users: Annotated[int, typer.Option(min=1, help="behaviour: how many users.")] = 500,
    kind: Annotated[str, typer.Option(help="behaviour: users with habits, or plain: no habits.")] = "habits",
    truth: Annotated[Path | None, typer.Option(help="With --out: where to write what was injected.")] = None,
) -> None:
    """Make events with known anomalies and send them to a topic, or write them to a file.

    What was injected is never in a record: it goes to the topic <topic>.truth, or to the file --truth. The last line is
    one JSON object: events, injected, undelivered.
    """
    from . import values

    events, schema = simulated(stream, seed, night, count, values.share(anomalies), users, kind)
    made = injected = 0

    def counted() -> "Iterator[Simulated]":
        nonlocal made, injected
        for event in events:
            made += 1
            injected += event.truth is not None
            yield event

    if out is not None:
        _write(counted(), schema, out, truth, count)
        undelivered = 0
    else:
        undelivered = _send(counted(), stream, schema, topic or stream, kafka, values.rate(rate), count)
    typer.echo(json.dumps({"events": made, "injected": injected, "undelivered": undelivered}))
    if undelivered:
        raise typer.Exit(1)


def simulated(
    stream: str, seed: int, night: str, count: int | None, anomalies: float, users: int, kind: str = "habits"
) -> "tuple[Iterator[Simulated], WriterSchema]":
    """Events of a stream and the schema that they are written with."""
    from datetime import UTC, date, datetime

    from ..consumer.streams.registry import UnknownStream
    from ..producer.schema import load
    from ..producer.simulate.night import simulate_night
    from ..producer.simulate.observations import simulate_observations
    from ..producer.simulate.plain_sessions import simulate_plain_sessions
    from ..producer.simulate.sessions import simulate_sessions

    if kind not in ("habits", "plain") or (kind == "plain" and (stream != "behaviour" or count is None)):
        raise typer.BadParameter(f"{kind!r}; sessions have habits or are plain", param_hint="--kind")
    try:
        day = date.fromisoformat(night)
    except ValueError as error:
        raise typer.BadParameter(f"a night is a date, YYYY-MM-DD, not {night!r}") from error
    if stream == "ztf":
        return simulate_night(seed, day, count, anomalies), load("ztf_like")
    if stream == "behaviour":
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if kind == "plain" and count is not None:
            return simulate_plain_sessions(seed, count, anomalies, start), load("behaviour")
        return simulate_sessions(seed, start, count, users, SESSIONS_A_DAY, anomalies), load("behaviour")
    if stream == "observation":
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return simulate_observations(seed, start, count, anomalies), load("observation")
    raise UnknownStream(stream)


def encoder(stream: str) -> "Callable[[Simulated, WriterSchema], bytes]":
    """How a stream's messages are framed: alerts as containers, the others bare."""
    from ..producer.encode import container, plain

    if stream == "ztf":
        return lambda event, schema: container(event.record, schema)
    return lambda event, schema: plain(event.record, schema)


def _write(events: "Iterator[Simulated]", schema: "WriterSchema", out: Path, truth: Path | None, count: int) -> None:
    import fastavro

    from ..producer.simulate.event import truth_message
    from .progress import counting

    with ExitStack() as stack:
        progress = stack.enter_context(counting(f"to {out}", count))
        file = stack.enter_context(out.open("wb"))
        notes = stack.enter_context(truth.open("wb")) if truth else None

        def noted() -> Iterator[object]:
            for made, event in enumerate(events, 1):
                if notes and event.truth is not None:
                    notes.write(truth_message(event) + b"\n")
                progress(made)
                yield event.record

        fastavro.writer(file, schema.parsed, noted(), codec="deflate", sync_marker=schema.sync)


def _send(
    events: "Iterator[Simulated]",
    stream: str,
    schema: "WriterSchema",
    topic: str,
    kafka: str | None,
    rate: float | None,
    count: int,
) -> int:
    from ..consumer.config import load_settings
    from ..consumer.run import kafka_options
    from ..producer.pace import Pace
    from ..producer.send import Sender
    from ..producer.simulate.event import truth_message
    from .progress import counting

    pace, encode = Pace(rate), encoder(stream)
    options = kafka_options(load_settings(None, {"kafka": {"bootstrap": kafka}}))
    with Sender(options) as sender, counting(f"to {topic}", count) as progress:
        sender.require(topic)
        for made, event in enumerate(events, 1):
            pace.wait()
            sender.send(topic, encode(event, schema), key=event.key)
            if event.truth is not None:
                sender.send(topic + TRUTH, truth_message(event), key=event.key)
            progress(made)
    return sender.undelivered_total
