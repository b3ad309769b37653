"""`skim replay`: recorded alerts back onto a topic."""

import json
from pathlib import Path
from typing import Annotated

import typer


def replay(
    archives: Annotated[list[Path], typer.Argument(help="tar, tar.gz, folders, .avro files: one message a file.")],
    topic: Annotated[str, typer.Option("--topic", "-t", help="Kafka topic to send to.")],
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    rate: Annotated[str, typer.Option(help="Messages a second, or max.")] = "max",
) -> None:
    """Send recorded messages to a topic, byte for byte as they are.

    The last line is one JSON object: sent, bytes, undelivered.
    """
    from ..consumer.config import load_settings
    from ..consumer.run import kafka_options
    from ..producer.archive import messages
    from ..producer.pace import Pace
    from ..producer.replay import replay as replay_messages
    from ..producer.send import Sender
    from . import values
    from .progress import counting

    pace = Pace(values.rate(rate))
    options = kafka_options(load_settings(None, {"kafka": {"bootstrap": kafka}}))
    with Sender(options) as sender, counting(f"to {topic}") as progress:
        sender.require(topic)
        summary = replay_messages(messages(archives), sender, topic, pace, lambda sent, _: progress(sent))
    typer.echo(json.dumps({"sent": summary.sent, "bytes": summary.bytes, "undelivered": summary.undelivered}))
    sender.check()
