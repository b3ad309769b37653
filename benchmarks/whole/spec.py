"""What a contender is asked to do, and the meter that all of them are measured by."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

BATCH, SECONDS = 1_000, 0.1


@dataclass(frozen=True, slots=True)
class Spec:
    """Read `events` messages of a topic from its beginning, score them, put the night's most anomalous into Redis."""

    stream: str
    bootstrap: str
    topic: str
    partitions: int
    redis: str
    events: int
    group: str
    model: str = ""  # a folder; "" = the one that Skimstream brings

    def load(self) -> Any:
        """Skimstream's model of the stream."""
        from skimstream.cli.models import load_model

        return load_model(self.stream, Path(self.model) if self.model else None)

    def to_json(self) -> str:
        """For a contender's command line."""
        return json.dumps(asdict(self))


class Meter:
    """CPU and wall time from the first message in hand to the last commit, of the whole process, all threads."""

    def __init__(self) -> None:
        self.began: tuple[float, float] | None = None
        self.taken: tuple[float, float] = (0.0, 0.0)

    def begin(self) -> None:
        """The first message is there; asked again, it does nothing."""
        if self.began is None:
            self.began = time.process_time(), time.perf_counter()

    def end(self) -> None:
        """All is committed."""
        assert self.began is not None
        self.taken = time.process_time() - self.began[0], time.perf_counter() - self.began[1]

    def figures(self, events: int) -> dict[str, float]:
        """Microseconds an event, and MiB."""
        cpu, wall = (1e6 * one / events for one in self.taken)
        return {"cpu_us": cpu, "wall_us": wall, "events": events, "peak_mib": peak(), "load": os.getloadavg()[0]}


def peak() -> float:
    """MiB that this process had at most; getrusage's figure begins with that of whoever started it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))


def messages(spec: Spec, meter: Meter, size: int) -> Iterator[list[Message]]:
    """The topic's messages in lists of up to `size`, until there were as many as are asked for."""
    options: dict[str, Any] = {
        "bootstrap.servers": spec.bootstrap,
        "group.id": spec.group,
        "enable.auto.commit": False,
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 20,
        "log_level": 0,
    }
    left, consumer = spec.events, Consumer(options)
    consumer.assign([TopicPartition(spec.topic, number, 0) for number in range(spec.partitions)])
    while left > 0:
        found = [one for one in consumer.consume(min(size, left), SECONDS) if one.error() is None]
        if found:
            meter.begin()
            left -= len(found)
            yield found
    consumer.close()
