"""Sends messages to Kafka, and knows afterwards which ones did not arrive."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas.errors import SkimError


@dataclass(frozen=True)
class Undelivered:
    """A message that the broker did not confirm: where it was to go, and why it didn't."""

    topic: str
    key: str | bytes | None
    partition: int | None
    reason: str


class DeliveryError(SkimError):
    """Messages could not be handed over or were not confirmed.

    Fields: `reason`, `undelivered` (the first of them, by name), `count` (all of them).
    """

    def __init__(self, reason: str, undelivered: Sequence[Undelivered], count: int) -> None:
        first = f"; the first: {undelivered[0]}" if undelivered else ""
        super().__init__(f"{reason}{first}")
        self.reason = reason
        self.undelivered = tuple(undelivered)
        self.count = count


class Sender:
    """One producer, `with` its end: what was sent is confirmed, or counted and named.

    librdkafka's queue is bounded; when it is full, `send` waits for room instead of failing (counted in `waits`).
    `delivered` counts confirmed messages, `undelivered_total` the others; `undelivered` names the first `NAMED` of
    those. Only a delivery report proves delivery, so look after `flush` or after the `with` block, or `check`.

    options: librdkafka's own, winning over the defaults here.  pace: if given, asked before each message as
    pace(topic, partition, size in bytes) whether it may go; while it answers False, delivery reports are served and
    it is asked again; after True it is not asked again for this message.  room_timeout: seconds that one `send`
    waits for room and pace together.
    """

    NAMED = 1000  # a name is some 200 bytes: 0.2 MB however long an outage lasts
    DEFAULTS: Mapping[str, Any] = {
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 5,
        "queue.buffering.max.kbytes": 64 * 1024,  # librdkafka's own default is 1 GB
        "message.max.bytes": 6 * 2**20,  # the largest message that `archive.messages` yields, with room for headers
    }

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        pace: Callable[[str, int | None, int], bool] | None = None,
        room_timeout: float = 60.0,
        flush_timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = Producer({**self.DEFAULTS, **options})
        self._pace = pace
        self._room_timeout = room_timeout
        self._flush_timeout = flush_timeout
        self._clock = clock
        self.delivered = 0
        self.undelivered: list[Undelivered] = []
        self.undelivered_total = 0
        self.waits = 0

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: str | bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Hands one message to librdkafka; `timestamp` in ms since 1970, the client's clock if None.

        Raises `DeliveryError` when there is no room for `room_timeout` seconds, or when librdkafka refuses the message
        (too large, a producer that has failed for good); it is counted and named as undelivered then.
        """
        given = {"key": key, "headers": headers and list(headers), "partition": partition, "timestamp": timestamp}
        arguments: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        deadline = self._clock() + self._room_timeout
        may_go = False
        waited = False
        while True:
            try:
                may_go = may_go or self._pace is None or self._pace(topic, partition, len(value or b""))
                if may_go:
                    self._producer.produce(topic, value, on_delivery=self._report, **arguments)
                    self._producer.poll(0)
                    return
                reason = "the pace held it back"
            except BufferError:
                reason = "the producer's queue stayed full: is the broker reachable?"
            except KafkaException as error:
                raise self._refused(topic, key, partition, str(error.args[0])) from error
            if self._clock() >= deadline:
                raise self._refused(topic, key, partition, f"{reason} (for {self._room_timeout:g} s)")
            if not waited:
                self.waits += 1
                waited = True
            self._producer.poll(0.05)

    def require(self, topic: str, timeout: float = 10.0) -> None:
        """Raises `DeliveryError` unless a broker answers and knows the topic (or makes it, if it is set to)."""
        try:
            found = self._producer.list_topics(topic, timeout=timeout).topics[topic]
        except KafkaException as error:
            raise DeliveryError(f"no broker answers ({error.args[0].str()}); see --kafka", [], 0) from error
        if found.error is not None:
            raise DeliveryError(f"topic {topic}: {found.error.str()}; create it first", [], 0)

    def flush(self, timeout: float | None = None) -> int:
        """Waits for delivery reports, at most `timeout` seconds; how many messages are still in flight."""
        return self._producer.flush(self._flush_timeout if timeout is None else timeout)

    def check(self) -> None:
        """Raises `DeliveryError` if any message is known not to have arrived."""
        if self.undelivered_total:
            reason = f"{self.undelivered_total} messages were not delivered"
            raise DeliveryError(reason, self.undelivered, self.undelivered_total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error the caller wants to know it soon; nothing is lost in silence either way.
        left = self.flush(self._flush_timeout if error is None else min(self._flush_timeout, 5.0))
        if left:
            # What is given up on is reported as undelivered, by name, like everything else.
            self._producer.purge()
            self._producer.flush(1)

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            partition = message.partition()
            known = None if partition is None or partition < 0 else partition
            self._name(Undelivered(message.topic() or "", message.key(), known, error.str()))

    def _refused(self, topic: str, key: str | bytes | None, partition: int | None, reason: str) -> DeliveryError:
        undelivered = Undelivered(topic, key, partition, reason)
        self._name(undelivered)
        return DeliveryError(reason, [undelivered], 1)

    def _name(self, undelivered: Undelivered) -> None:
        self.undelivered_total += 1
        if len(self.undelivered) < self.NAMED:
            self.undelivered.append(undelivered)
