"""Dead letters: messages that can't be read, with their bytes as they came and the reason why (`letter.py`).

They go to `<topic>.dlq`, and delivery is confirmed before the offset moves past them.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ..schemas.errors import SkimError
from .letter import SUFFIX, Letter
from .patience import Unavailable

log = logging.getLogger(__name__)

# librdkafka gives up on a message after message.timeout.ms; it is then sent again.
MESSAGE_TIMEOUT_MS = 30_000
# So long one call of `confirm` waits; then whoever called keeps Kafka's group alive, and calls again.
CONFIRM_SECONDS = 1.0
# The largest message that a consumer takes (receive.message.max.bytes): what came in must be let out.
MESSAGE_BYTES = 100_000_000
# How long a start waits to hear of the topic, and for it to be created; a broker that is up answers at once.
PROVIDE_SECONDS = 5.0
DEFAULT_REPLICATION = -1  # the broker's own (Kafka 2.4 and later)


class DeadLetterError(SkimError):
    """A dead letter couldn't be delivered, so the batch must not be committed."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(
            f"the dead-letter topic {topic} doesn't take messages ({problem}); see that it exists and is writable"
        )
        self.topic = topic
        self.problem = problem


class DeadLettersSlow(Unavailable):
    """Not all dead letters are delivered yet; `confirm` again, later."""


def provide(options: Mapping[str, Any], topic: str, seconds: float = PROVIDE_SECONDS) -> bool:
    """See that the topic of a topic's dead letters is there, else create it; False, with a warning, if that fails.

    Not fatal: nobody may ever need it. One partition, since dead letters are few and are read in one order.
    """
    name = topic + SUFFIX
    admin = AdminClient(dict(options))
    try:
        error = admin.list_topics(name, timeout=seconds).topics[name].error
        if error is None or error.code() == KafkaError.LEADER_NOT_AVAILABLE:  # the broker just made it by itself
            return True
        if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(error)
        asked = admin.create_topics([NewTopic(name, 1, DEFAULT_REPLICATION)], request_timeout=seconds)
        asked[name].result()
    except KafkaException as refused:
        if refused.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was faster
            return True
        log.warning("the dead-letter topic may be missing", extra={"topic": name, "reason": refused.args[0].str()})
        return False
    log.info("dead-letter topic created", extra={"topic": name})
    return True


class DeadLetters:
    """A producer of dead letters. Nothing here waits for longer than a second."""

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
        self.queued: deque[Letter] = deque()  # not handed to the producer yet
        self.outstanding = 0  # handed over, no report yet
        self.failed: DeadLetterError | None = None
        self.again: list[Letter] = []  # timed out, or too long: to be sent again

    def send(self, letter: Letter) -> None:
        """Queue one; `confirm` delivers it."""
        self.queued.append(letter)

    def confirm(self) -> None:
        """See everything sent delivered.

        Raises `DeadLettersSlow` if that takes longer, `DeadLetterError` if it can't be.
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
                raise DeadLettersSlow(f"{len(self.queued) + self.outstanding} dead letters are not delivered yet")

    def _hand_over(self) -> None:
        while self.queued:
            letter = self.queued[0]
            try:
                self.producer.produce(
                    letter.place.topic + SUFFIX,
                    letter.value,
                    letter.key,
                    headers=letter.headers(),
                    on_delivery=self._reporter(letter),
                )
            except BufferError:  # full: there will be room
                return
            except KafkaException as refused:
                self.queued.popleft()
                self._undelivered(letter, refused.args[0])
                if self.failed is not None:
                    return
                continue
            self.queued.popleft()
            self.outstanding += 1

    def _reporter(self, letter: Letter) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            self.outstanding -= 1
            if error is not None:
                self._undelivered(letter, error)

        return report

    def _undelivered(self, letter: Letter, error: KafkaError) -> None:
        if error.code() == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - librdkafka's own public name
            self.again.append(letter)
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and not letter.omitted and letter.value:
            # Its value with our headers is longer than the topic allows: that must not stop everybody.
            log.warning("dead letter without its bytes", extra={"place": str(letter.place), "reason": error.str()})
            self.again.append(letter.without_value())
        else:
            self.failed = DeadLetterError(letter.place.topic + SUFFIX, error.str())
