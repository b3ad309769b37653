"""A topic, a Redis and a fleet of workers; and the comparison with an undisturbed run."""

import itertools
import struct
import time
import zlib
from itertools import repeat
from pathlib import Path
from typing import Any

import redis
from confluent_kafka import Producer

from brokers.kafka import Kafka
from brokers.redis import RedisServer
from skimstream.consumer.board import read_offsets

from .fleet import Fleet, wait_for
from .listed import Listed, Topic, learned, recorder

PARTITIONS = 4


class Play:
    """A topic, a Redis and a fleet; events are sent a few at a time."""

    def __init__(self, kafka: Kafka, server: RedisServer, folder: Path, events: list[bytes], **settings: Any) -> None:
        self.kafka, self.server = kafka, server
        self.name = f"chaos-{time.monotonic_ns()}"
        kafka.create_topic(self.name, PARTITIONS)
        kafka.create_topic(f"{self.name}.dlq", 1)
        self.events = iter(events)
        self.sent: dict[int, list[bytes | None]] = {number: [] for number in range(PARTITIONS)}
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "linger.ms": 1})
        options = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300, "fetch.wait.max.ms": 20}
        self.fleet = Fleet(
            folder,
            {
                "stream": "behaviour",
                "topic": self.name,
                "kafka": {"bootstrap": kafka.bootstrap, "group": self.name, "options": options},
                "redis": {"url": server.url, "timeout": 1.0},
                "batch": {"size": 50, "seconds": 0.02},
                "checkpoint": {"seconds": 0.3},
                "state": {"capacity": 1_000},
                "metrics": {"port": 0},
                **settings,
            },
        )

    def send(self, count: int) -> None:
        """The next events, each user's to the same partition."""
        for event in itertools.islice(self.events, count):
            number = zlib.crc32(event[:11]) % PARTITIONS  # the user's id comes first
            self.sent[number].append(event)
            while len(self.producer) > 50_000:  # its queue takes twice as many
                self.producer.poll(0.1)
            self.producer.produce(self.name, event, partition=number)
        assert self.producer.flush(30) == 0

    def send_all(self) -> None:
        self.send(1 << 30)

    def done(self) -> bool:
        """Whether everything that was sent is on the board."""
        try:
            with self.server.client() as client:
                stored = read_offsets(client, "behaviour")
        except redis.RedisError:
            return False
        return all(stored.get(f"{self.name}/{number}") == len(sent) for number, sent in self.sent.items())

    def applied(self) -> int:
        with self.server.client() as client:
            return sum(read_offsets(client, "behaviour").values())

    def alone(self, **more: Any) -> str:
        """A worker in a group of its own: it needn't wait for the session of one that was killed."""
        return self.fleet.start(kafka={"group": f"{self.name}-{self.fleet.born}"}, **more)

    def finish(self) -> None:
        """Let it come to an end, and compare with an undisturbed run."""
        self.send_all()
        if not self.fleet.members:
            self.alone()
        wait_for(self.done, f"all is applied\n{self.fleet.logs()[-4000:]}", 180)
        for name in list(self.fleet.members):
            self.fleet.leave(name)
        with self.server.client() as client:
            worker = recorder(client, "reference", kept=1_000)
            source = Listed(Topic(self.sent), repeat(500))
            source.topic = self.name
            worker.run(source, lambda: source.done)
            for number in range(PARTITIONS):
                worker.dropped(source.address(number), lost=False)
            expected = {(partition, offset): score for partition, offset, score in worker.emitted}
            emitted = {place: struct.pack("<d", score) for place, score in self.fleet.emitted().items()}
            assert emitted == expected, "scores"
            found, wanted = learned(client, "behaviour"), learned(client, "reference")
            found.pop("inflight", None)
            assert found.keys() == wanted.keys()
            different = [name for name in wanted if found[name] != wanted[name]]
            assert different == [], f"{different} differ"

    def __enter__(self) -> "Play":
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.__exit__()
        self.kafka.delete_topic(self.name)
