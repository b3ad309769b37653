"""Sending dead letters' messages again, each with a receipt beside the letter once it is delivered."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas.errors import SkimError
from .letter import SUFFIX, Letter, Receipt
from .outgoing import MESSAGE_BYTES, MESSAGE_TIMEOUT_MS

# Every message and receipt is reported on after MESSAGE_TIMEOUT_MS at the latest.
FINISH_SECONDS = 2 * MESSAGE_TIMEOUT_MS / 1000 + 5

PARTITIONER = -1  # chooses by the key


class ResendError(SkimError):
    """Some messages were not sent again, or have no receipt."""

    def __init__(self, failed: int, unreceipted: int, problem: str) -> None:
        super().__init__(
            f"{failed} messages were not delivered, {unreceipted} were but have no receipt ({problem}); "
            "the next replay sends them all again"
        )
        self.failed = failed
        self.unreceipted = unreceipted
        self.problem = problem


class Resend:
    """Sends the messages of `<topic>.dlq` to `target`, bytes, key and headers as they came; a context manager.

    Without a target each goes to its own topic, and there to its own partition, whatever partitioner chose it: what is
    known of their objects is there. `sent` counts the delivered ones; look after the `with` block, or `check`.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, target: str | None = None) -> None:
        self.topic = topic
        self.target = target
        self.sent = self.failed = self.unreceipted = 0
        self.problem = ""
        self.outstanding = 0
        self.receipts: deque[Receipt] = deque()
        self.producer = Producer(
            {
                "message.max.bytes": MESSAGE_BYTES,
                **options,
                "enable.idempotence": True,
                "message.timeout.ms": MESSAGE_TIMEOUT_MS,
            }
        )

    def send(self, letter: Letter) -> None:
        """Hand over one message; waits for room if need be."""
        target = self.target or letter.place.topic
        partition = letter.place.partition if target == letter.place.topic else PARTITIONER
        while True:
            try:
                self.producer.produce(
                    target,
                    letter.value,
                    letter.key,
                    partition,
                    headers=letter.restored(),
                    on_delivery=self._reporter(letter, target),
                )
            except BufferError:
                self._serve(0.1)
                continue
            except KafkaException as refused:
                self._fail(refused.args[0])
            else:
                self.outstanding += 1
            break
        self._serve(0)

    def finish(self) -> None:
        """Wait until all that was sent is delivered or not, and so are the receipts."""
        until = time.monotonic() + FINISH_SECONDS
        while (self.outstanding or self.receipts) and time.monotonic() < until:
            self._serve(0.1)

    def check(self) -> None:
        """Raises `ResendError` if anything is not as it should be."""
        failed = self.failed + self.outstanding
        if failed or self.unreceipted:
            raise ResendError(failed, self.unreceipted, self.problem or "no report came")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def _serve(self, seconds: float) -> None:
        self.producer.poll(seconds)
        while self.receipts:
            try:
                self.producer.produce(
                    self.topic + SUFFIX, None, headers=self.receipts[0].headers(), on_delivery=self._receipted
                )
            except BufferError:
                return
            except KafkaException as refused:
                self._receipted(refused.args[0])
            else:
                self.outstanding += 1
            self.receipts.popleft()

    def _reporter(self, letter: Letter, target: str) -> Callable[[KafkaError | None, Message], None]:
        receipt = Receipt(letter.place, target)

        def report(error: KafkaError | None, message: Message) -> None:
            self.outstanding -= 1
            if error is not None:
                self._fail(error)
            else:
                self.sent += 1
                self.receipts.append(receipt)

        return report

    def _receipted(self, error: KafkaError | None, message: Message | None = None) -> None:
        if message is not None:
            self.outstanding -= 1
        if error is not None:
            self.unreceipted += 1
            self.problem = self.problem or error.str()

    def _fail(self, error: KafkaError) -> None:
        self.failed += 1
        self.problem = self.problem or error.str()
