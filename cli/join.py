"""`skim join`: labels of a topic of their own, copied into the stream beside their events."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def join(
    stream: Annotated[str | None, typer.Argument(help="A stream of your own, as --config defines it.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Topic of labels; [stream.NAME.labels] topic, or <topic>.labels by default.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Kafka topic of the events; the stream's by default.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    once: Annotated[
        bool, typer.Option(help="End when all that is there now and due is copied; say, from cron.")
    ] = False,
    remembered: Annotated[
        int, typer.Option(min=1, help="Most recent events that labels can find; some 500 bytes each.")
    ] = 1_000_000,
) -> None:
    """Copy labels from a topic of their own into the stream's topic, where workers learn from them.

    A label is {"event_id": …, "label": 1 or 0, "time": …}. Its copy has its event's key, other entities and time,
    stands in its event's partition, and comes when the stream has reached the label's time and the delay that the
    definition asks for. Each is copied once, also after a crash; run one process. The last line is one JSON object.

        skim join payments -c skim.toml --labels payments.labels
    """
    from ..consumer.config import load_settings
    from ..consumer.configured import configured_stream, decoder_of
    from ..consumer.join import Join, JoinError
    from ..consumer.label import SUFFIX
    from ..consumer.run import kafka_options
    from ..consumer.streams.own import Own
    from .signals import stop_flag

    settings = load_settings(config, {"stream": stream, "topic": topic, "kafka": {"bootstrap": kafka}})
    kind, events = configured_stream(settings), settings.one_topic
    if not isinstance(kind, Own):
        raise JoinError(labels or events, f"{kind.name} has no labels; define a stream of your own (--config)")
    feed = kind.definition.labels
    found = labels or (feed and feed.topic) or events + SUFFIX
    joining = Join(kind, events, found, decoder_of(settings, kind), kafka_options(settings), remembered)
    typer.echo(f"skim: labels of {found} to {events}; Ctrl-C to stop", err=True)
    typer.echo(json.dumps(asdict(joining.run(stop_flag().is_set, once))))
