"""What batches send to Kafka: dead letters (`letter.py`) to `<topic>.dlq`, alerts (`alert.py`) to a topic of their own.

Delivery is confirmed before the offset moves past them.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas.errors import SkimError
from .patience import Unavailable

log = logging.getLogger(__name__)

#: Headers, as a producer takes them.
Wire = list[tuple[str, str | bytes | None]]

# librdkafka gives up on a message after message.timeout.ms; it is then sent again.
MESSAGE_TIMEOUT_MS = 30_000
# So long one call of `confirm` waits; then whoever called keeps Kafka's group alive, and calls again.
CONFIRM_SECONDS = 1.0
# The largest message that a consumer takes (receive.message.max.bytes): what came in must be let out.
MESSAGE_BYTES = 100_000_000


class Parcel(Protocol):
    """What can be sent: a dead letter, an alert."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    def headers(self) -> Wire: ...
    def lighter(self) -> "Parcel | None":
        """What to send instead if it is longer than its topic allows; None = nothing."""

    def refused(self, problem: str) -> "Undeliverable":
        """What it means if its topic doesn't take it."""


class Undeliverable(SkimError):
    """A topic doesn't take what it must."""


class DeliverySlow(Unavailable):
    """Not everything is delivered yet; `confirm` again, later."""


class Outgoing:
    """A producer of parcels. Nothing here waits for longer than a second."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.producer = Producer(
            {
                "message.max.bytes": MESSAGE_BYTES,
                **options,
                "enable.idempotence": True,
                "message.timeout.ms": MESSAGE_TIMEOUT_MS,
                "linger.ms": 5,
            }
        )
        self.queued: deque[Parcel] = deque()  # not handed to the producer yet
        self.outstanding = 0  # handed over, no report yet
        self.failed: Undeliverable | None = None
        self.again: list[Parcel] = []  # timed out, or too long: to be sent again

    def send(self, parcel: Parcel) -> None:
        """Queue one; `confirm` delivers it."""
        self.queued.append(parcel)

    def confirm(self) -> None:
        """See everything sent delivered.

        Raises `DeliverySlow` if that takes longer, `Undeliverable` if it can't be.
        """
        until = time.monotonic() + CONFIRM_SECONDS
        while self.queued or self.outstanding:
            self._hand_over()
            self.producer.poll(0.05)
            if self.failed is not None:
                failed, self.failed = self.failed, None
                raise failed
            self.queued.extend(self.again)
            self.again.clear()
            if time.monotonic() > until and (self.queued or self.outstanding):
                raise DeliverySlow(
                    f"{len(self.queued) + self.outstanding} messages to other topics are not delivered yet"
                )

    def _hand_over(self) -> None:
        while self.queued:
            parcel = self.queued[0]
            try:
                self.producer.produce(
                    parcel.topic,
                    parcel.value,
                    parcel.key,
                    headers=parcel.headers(),
                    on_delivery=self._reporter(parcel),
                )
            except BufferError:  # full: there will be room
                return
            except KafkaException as refused:
                self.queued.popleft()
                self._undelivered(parcel, refused.args[0])
                if self.failed is not None:
                    return
                continue
            self.queued.popleft()
            self.outstanding += 1

    def _reporter(self, parcel: Parcel) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            self.outstanding -= 1
            if error is not None:
                self._undelivered(parcel, error)

        return report

    def _undelivered(self, parcel: Parcel, error: KafkaError) -> None:
        if error.code() == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - librdkafka's own public name
            self.again.append(parcel)
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and (lighter := parcel.lighter()) is not None:
            # Longer than the topic allows: that must not stop everybody.
            log.warning("sent without its bytes", extra={"topic": parcel.topic, "reason": error.str()})
            self.again.append(lighter)
        else:
            self.failed = parcel.refused(error.str())
