"""Repartitions a topic: every message of an object goes to one partition of `<topic>.rekeyed`, exactly once.

Of topics that come and go each night, all go to one, where what is known of an object outlives the night.

Each batch is one Kafka transaction:
    1. messages are taken from the topic; rebalances happen in there only, so never inside of a transaction;
    2. each is produced with its object as the key, and its own value, headers and timestamp;
    3. the offsets go into the same transaction, where the broker checks that this worker is still in the group;
    4. commit. Whatever fails before is aborted, and the partitions begin anew at the offsets that Kafka holds.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from ..schemas.columns import Wanted
from ..schemas.decode import Decoded, Decoder, Headers
from ..schemas.errors import SkimError
from ..schemas.framing import is_schema
from ..schemas.registry import RegistryUnavailable
from .address import Address
from .batch import Batch
from .internal import rekeyed
from .opening import LostOffsets
from .patience import Interrupted, Unavailable
from .place import Place
from .source import PASSING, Source, SourceError
from .topics import Nightly, Single, Topics

log = logging.getLogger(__name__)

#: Headers of a copy: `<topic>/<partition>/<offset>` of the original; and its key, where decoding needs it.
ORIGIN, KEY = "skim.origin", "skim.key"
# Ids are shorter (no stream takes more than 128 bytes). A longer one is no id; its message goes where it came from.
KEY_BYTES = 256
# A commit costs tens of milliseconds, so a transaction takes what came in about as much time.
SIZE, SECONDS = 5_000, 0.1
# So long a dead worker's open transaction may hold up the readers of all partitions (the broker looks every 10 s).
TRANSACTION_MS = 10_000
# One call to a broker; then it is made again, unless the worker is told to stop.
CALL_SECONDS = 3.0
PAUSE_SECONDS = 0.5
# In a row, while brokers answer: then it isn't a rebalance, nor a leader that moved.
ATTEMPTS = 6
# Larger messages are the broker's to refuse, by its own limit.
MESSAGE_BYTES = 64 << 20


class RekeyError(SkimError):
    """Messages can't be repartitioned any further."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(f"rekey: {topic} can't be copied to {rekeyed(topic)}: {problem}")
        self.topic = topic
        self.problem = problem


def key_only(wanted: Wanted, field: str) -> Wanted:
    """What to read of a stream's messages to know their object, and nothing else.

    >>> key_only(Wanted(("candidate.jd",), texts=("objectId",)), "objectId").paths
    ('objectId',)
    """
    aliases = {path: others for path, others in wanted.aliases.items() if path == field}
    if field in wanted.integers:
        return Wanted(integers=(field,), aliases=aliases)
    return Wanted(texts=(field,), aliases=aliases)


def keys_of(decoded: Decoded, field: str, messages: int) -> list[bytes | None]:
    """The object of each of so many messages, as its key: a text, or the digits of a positive integer; else None."""
    keys: list[bytes | None] = [None] * messages
    columns = decoded.columns
    if field in columns.wanted.integers:
        for i, number in zip(decoded.index.tolist(), columns.integer(field).tolist(), strict=True):
            keys[i] = b"%d" % number if number > 0 else None
        return keys
    column = columns.text(field)
    spans = zip(decoded.index.tolist(), column.start.tolist(), column.length.tolist(), strict=True)
    for i, start, length in spans:
        if 0 < length <= KEY_BYTES:
            keys[i] = column.buffer[start : start + length].tobytes()
    return keys


class RekeyedDecoder(Decoder):
    """Reads copies: a copy's key is its object, the key that decoding may need travels in a header."""

    def decode(
        self,
        messages: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Headers | None] | None = None,
    ) -> Decoded:
        """As `Decoder.decode`, with the originals' keys; `keys` are not looked at."""
        originals = [dict(one).get(KEY) if one else None for one in headers] if headers else None
        return super().decode(messages, originals, headers)


class Rekey:
    """The stage of one worker; those of a group share the topic's partitions.

    `decoder` reads `key_field`, the text or integer that names a message's object (0 = none). `partitions` is how many
    the internal topic has. `member` names the worker: a restart under the same name ends what the last one left open,
    at once. `size` is how many messages a transaction takes at most. `reached(point)` is called after each step, for
    tests that end the process there.
    """

    def __init__(
        self,
        topics: Topics | str,
        partitions: int,
        decoder: Decoder,
        key_field: str,
        consumer: Mapping[str, Any],
        producer: Mapping[str, Any],
        start: Place = "earliest",
        lost_offsets: LostOffsets = "stop",
        member: str = "",
        size: int = SIZE,
        reached: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.topics = Single(topics) if isinstance(topics, str) else topics
        self.topic = self.topics.name
        self.target = rekeyed(self.topic)
        self.partitions = partitions
        self.decoder = decoder
        self.key_field = key_field
        self.start = start
        self.lost_offsets = lost_offsets
        self.size = size
        self.reached = reached
        # read_committed also keeps offsets back that an open transaction is about to change.
        self.consumer = {**consumer, "isolation.level": "read_committed"}
        self.group = str(consumer["group.id"])
        self.producer_options = {
            **producer,
            "transactional.id": f"{self.group}.{self.topic}.{member or uuid.uuid4().hex}",
            "transaction.timeout.ms": TRANSACTION_MS,
            "message.timeout.ms": TRANSACTION_MS,
            "message.max.bytes": MESSAGE_BYTES,
            # Java's own, so that other programs find an object where this one put it.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "on_delivery": self._delivered,
        }
        self.refused = ""
        self.failures = 0
        self.copied = 0
        self.stopping: Callable[[], bool] = lambda: False

    def run(self, stopping: Callable[[], bool]) -> None:
        """Copy until `stopping()`; it is asked between transactions, and in outages. Raises `SkimError`."""
        self.stopping = stopping
        try:
            self.producer = self._new_producer()  # first of all: it ends what its last life has left open
            with Source(self.topics, self.consumer, self.start, self._dropped, keyed=True) as source:
                log.info("rekeying", extra={"topic": self.topic, "to": self.target, "group": self.group})
                while not stopping():
                    self._turn(source)
        except Interrupted as reason:
            log.warning("left undone", extra={"reason": str(reason)})
        except KafkaException as error:
            raise RekeyError(self.topic, error.args[0].str()) from error
        finally:
            log.info("rekeyed", extra={"topic": self.topic, "messages": self.copied})

    def _turn(self, source: Source) -> None:
        batches: list[Batch] = []
        try:
            if ours := source.due():
                self._open(source, ours)
            batches = source.batches(self.size, SECONDS)
            if batches:
                self._transact(source, {batch.address: batch.following for batch in batches}, batches)
        except Unavailable as reason:
            log.warning("paused", extra={"reason": str(reason)})
            for batch in batches:
                source.close(batch.address)
        except KafkaException as error:
            self._roll_back(error.args[0])
            for batch in batches:
                source.close(batch.address)  # to be opened again where Kafka says
        else:
            return
        source.idle(PAUSE_SECONDS)
        source.go_on()

    def _transact(self, source: Source, positions: Mapping[Address, int], batches: Sequence[Batch] = ()) -> None:
        """All batches and where to go on after them, or nothing. Raises KafkaException, `Unavailable`."""
        group = source.consumer.consumer_group_metadata()
        offsets = [address.at(offset) for address, offset in positions.items()]
        keys = [self._keys(batch) for batch in batches]
        self.refused = ""
        self.producer.begin_transaction()
        self.reached("begun")
        for batch, objects in zip(batches, keys, strict=True):
            self._produce(batch, objects)
        self.reached("produced")
        self._insist(lambda: self.producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS))
        self.reached("sent")
        self._insist(lambda: self.producer.commit_transaction(CALL_SECONDS))
        self.reached("committed")
        self.failures = 0
        self.copied += sum(len(batch.values) for batch in batches)

    def _produce(self, batch: Batch, keys: Sequence[bytes | None]) -> None:
        for i, key in enumerate(keys):
            # What has no object is read by the worker whose partition it would have been, which says why it is dead.
            partition = -1 if key else batch.address.number % self.partitions
            copy = {
                "value": batch.values[i],
                "key": key,
                "partition": partition,
                "timestamp": max(batch.timestamps[i], 0),  # 0 is now, for messages without any
                "headers": self._headers(batch, i),
            }
            while not self._queued(copy):
                self.producer.poll(SECONDS)
            self.producer.poll(0)

    def _queued(self, copy: Mapping[str, Any]) -> bool:
        try:
            self.producer.produce(self.target, **copy)
        except BufferError:  # full: there will be room
            return False
        return True

    def _keys(self, batch: Batch) -> list[bytes | None]:
        """Each message's object; None where there is none, or no way to tell."""
        try:
            decoded = self.decoder.decode(batch.values, batch.keys, batch.headers)
        except RegistryUnavailable as error:
            raise Unavailable(str(error)) from error
        return keys_of(decoded, self.key_field, len(batch.values))

    def _headers(self, batch: Batch, i: int) -> list[tuple[str, bytes]]:
        given = batch.headers[i] if batch.headers else None
        headers = [header for header in given or () if header[0] not in (ORIGIN, KEY)]  # ours are ours
        headers.append((ORIGIN, f"{batch.name}/{batch.offsets[i]}".encode()))
        key = batch.keys[i] if batch.keys else None
        if key is not None and is_schema(key):
            headers.append((KEY, key))
        return headers

    def _open(self, source: Source, partitions: Sequence[Address]) -> None:
        """Go on with partitions where the group's last transactions ended."""
        stored, start = self._stored(source, partitions), dict[Address, int]()
        for address in partitions:
            try:
                low, high = source.range(address)
            except Unavailable:
                if address in source.due():
                    raise
                continue  # left alone for now: there are other topics to read
            at = stored[address]
            if at is None:
                start[address] = source.beginning(address, low, high)
            elif not low <= at <= high:
                start[address] = self._jump(address, at, low, high)
            else:
                start[address] = at
        if new := {address: at for address, at in start.items() if stored[address] is None}:
            self._refuse_to_repeat(source)
            self._transact(source, new)  # so "latest" won't move with the next start
        for address, at in start.items():
            source.open(address, at)
            self.reached("opened")

    def _jump(self, address: Address, at: int, low: int, high: int) -> int:
        """What to do where the next message isn't there any more."""
        lost = f"{address.name} has offsets {low} to {high}, and {at} was the next"
        if self.lost_offsets == "stop":
            advice = 'set kafka.lost_offsets = "jump-and-alert" to go on without what is lost'
            raise RekeyError(self.topic, f"{lost} (retention, or the topic was made anew); {advice}")
        log.error("jumped", extra={"partition": address.name, "to": low, "reason": lost})
        return low

    def _stored(self, source: Source, partitions: Sequence[Address]) -> dict[Address, int | None]:
        """The group's offsets. Waits for transactions that are about to change them; raises `Unavailable` for now."""
        asked = [TopicPartition(*one) for one in partitions]
        try:
            found = source.consumer.committed(asked, timeout=CALL_SECONDS)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error
        for place in found:
            if place.error is not None:
                raise self._failure(place.error)
        return {Address(one.topic, one.partition): one.offset if one.offset >= 0 else None for one in found}

    def _failure(self, error: KafkaError) -> SkimError:
        if error.code() in PASSING or error.retriable():
            return Unavailable(f"offsets of {self.group}: {error.str()}; a dead worker's transaction may be open")
        return SourceError(self.topic, error)

    def _refuse_to_repeat(self, source: Source) -> None:
        """A group without any offsets has copied nothing; if copies are there, they are forgotten or another's."""
        if isinstance(self.topics, Nightly):
            return  # the offsets of nights that are over go with their topics
        written = False
        for partition in range(self.partitions):
            place = TopicPartition(self.target, partition)
            try:
                written = written or source.consumer.get_watermark_offsets(place, timeout=CALL_SECONDS)[1] > 0
            except KafkaException as error:
                raise self._failure(error.args[0]) from error
        if written and not any(offset is not None for offset in self._stored(source, source.partitions()).values()):
            problem = f"{self.target} holds messages, but the group {self.group} has no offsets: another group copies"
            advice = "would come twice; see docs/rekey.md"
            raise RekeyError(self.topic, f"{problem} too, or Kafka has forgotten them, and all {advice}")

    def _roll_back(self, reason: KafkaError) -> None:
        """Undo the open transaction. Raises `RekeyError` if that happens again and again."""
        problem = self.refused or reason.str()
        log.warning("transaction undone", extra={"reason": problem})
        self.failures += 1
        if self.failures >= ATTEMPTS:
            raise RekeyError(self.topic, f"{problem} ({self.failures} times)")
        try:
            self._insist(lambda: self.producer.abort_transaction(CALL_SECONDS))
        except KafkaException:  # a fatal one: it timed out at the broker, or another process took the name
            self.producer.purge()
            self.producer = self._new_producer()

    def _new_producer(self) -> Producer:
        producer = Producer(self.producer_options)
        self._insist(lambda: producer.init_transactions(CALL_SECONDS))
        return producer

    def _insist(self, call: Callable[[], None]) -> None:
        """Call again until it is done: a timeout says nothing about what the broker did."""
        while True:
            try:
                return call()
            except KafkaException as error:
                reason = error.args[0]
                if not reason.retriable() and reason.code() != KafkaError._TIMED_OUT:  # noqa: SLF001
                    raise
                if self.stopping():
                    raise Interrupted(f"the transaction: {reason.str()}") from error
            time.sleep(SECONDS)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and not self.refused:
            self.refused = f"{error.str()}: a message of {len(message)} bytes"

    def _dropped(self, address: Address, lost: bool) -> None:
        """Nothing to save: no transaction is open while partitions come and go."""
        log.info("lost" if lost else "revoked", extra={"partition": address.name})


@contextmanager
def beside(stage: Rekey, stopping: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Run a stage in a thread, as long as the block; gives a `stopping` that also says so when the stage has ended.

    Raises what the stage raised, at the end of the block.
    """
    over = Event()
    with ThreadPoolExecutor(1, "rekey") as pool:
        running = pool.submit(stage.run, lambda: over.is_set() or stopping())
        try:
            yield lambda: stopping() or running.done()
        finally:
            over.set()
    running.result()
