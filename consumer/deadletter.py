"""Dead letters: messages that can't be read, with their bytes as they came and the reason why.

They go to `<topic>.dlq`, and delivery is confirmed before the offset moves past them.
"""

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas.errors import DecodeError, SkimError

SUFFIX = ".dlq"
# librdkafka gives up on a message after message.timeout.ms; a little longer covers the last report's way back.
MESSAGE_TIMEOUT_MS = 30_000
FLUSH_SECONDS = MESSAGE_TIMEOUT_MS / 1000 + 5


class DeadLetterError(SkimError):
    """A dead letter couldn't be delivered, so the batch must not be committed."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(
            f"the dead-letter topic {topic} doesn't take messages ({problem}); see that it exists and is writable"
        )
        self.topic = topic
        self.problem = problem


class DeadLetters:
    """A producer of dead letters."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.producer = Producer(
            {**options, "enable.idempotence": True, "message.timeout.ms": MESSAGE_TIMEOUT_MS, "linger.ms": 5}
        )
        self.failed: tuple[str, str] | None = None

    def send(
        self, topic: str, partition: int, offset: int, timestamp: int, value: bytes | None, error: DecodeError
    ) -> None:
        """Queue one; waits for room if the queue is full."""
        headers = {
            "reason": error.reason,
            "detail": error.detail,
            "topic": topic,
            "partition": str(partition),
            "offset": str(offset),
            "timestamp": str(timestamp),
            "skimstream": version("skimstream"),
        }
        deadline = time.monotonic() + FLUSH_SECONDS
        while True:
            try:
                self.producer.produce(
                    topic + SUFFIX, value, headers={k: v.encode() for k, v in headers.items()}, on_delivery=self._report
                )
                return
            except BufferError as full:
                if time.monotonic() > deadline:
                    raise DeadLetterError(topic + SUFFIX, "its queue stays full") from full
                self.producer.poll(0.1)
            except KafkaException as refused:
                raise DeadLetterError(topic + SUFFIX, str(refused)) from refused

    def confirm(self) -> None:
        """Wait until everything sent is delivered. Raises `DeadLetterError`."""
        left = self.producer.flush(FLUSH_SECONDS)
        if self.failed:
            raise DeadLetterError(*self.failed)
        if left:
            raise DeadLetterError("", f"{left} without an answer")

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed = (str(message.topic()), error.str())
