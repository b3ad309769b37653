"""Joins labels to their events: each label of a topic of labels is copied into the stream's topic, beside its event.

A score depends on its partition's records and their order alone, so labels have to stand among the events. What is
known of an event is put into the event's own partition, with its key, its other entities and its time, as soon as the
stream has come so far as the label's time and the stream's delay: not earlier, or scores would know what nobody knew.

Nothing is kept anywhere but in the two topics. At the start the stream's topic is read to its end: that tells the
recent events, and which labels are among them already (the header `skim.label` of a copy says where its label stands).
So a label is copied once, whenever this ends and starts again; one process at a time.
"""

import heapq
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ..schemas.decode import Decoder
from ..schemas.errors import DecodeError, SkimError
from .batch import headers_of
from .label import Label, read, written
from .source import PASSING
from .streams.own import Own

log = logging.getLogger(__name__)

#: On a label among the events: `<topic>/<partition>/<offset>` of the label that it is a copy of.
LABEL = "skim.label"
REMEMBERED = 1_000_000  # events, some 500 bytes each
AT_ONCE, SECONDS = 1_000, 0.2
ANSWER_SECONDS = 10.0


class JoinError(SkimError):
    """Labels can't be copied into the stream's topic."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(f"labels of {topic}: {problem}")
        self.topic = topic
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Event:
    """What a label needs of its event: where it is, and the fields that the copy has, too. time: s since 1970."""

    partition: int
    key: bytes | None
    fields: Mapping[str, Any]
    time: float


@dataclass(slots=True)
class Joined:
    """How many there were: of labels, those copied now, those that were there already, and those that wait: for an
    event that isn't there (`unknown`), or for the stream to come so far (`early`); `forgotten` waited too long."""

    events: int = 0
    labels: int = 0
    copied: int = 0
    present: int = 0
    unknown: int = 0
    early: int = 0
    unreadable: int = 0
    forgotten: int = 0


class Waiting:
    """Recent events, labels that wait for their event, labels that wait for their time: at most `remembered` each."""

    def __init__(self, delay: float, remembered: int = REMEMBERED) -> None:
        self.delay, self.remembered = delay, remembered
        self.now = -float("inf")  # how far the stream has come, s since 1970
        self.events: dict[str, Event] = {}
        self.unknown: dict[str, list[tuple[str, Label]]] = {}
        self.due: list[tuple[float, int, str, Label, Event]] = []
        self.forgotten = 0
        self._alone = 0  # labels in `unknown`
        self._number = count()  # labels of one time keep their order

    def event(self, name: str, event: Event, arrived: float) -> None:
        """One more event. A time after its arrival, s since 1970, is a clock that is wrong, and doesn't count."""
        self.events.pop(name, None)
        self.events[name] = event
        if len(self.events) > self.remembered:
            del self.events[next(iter(self.events))]
        self.now = max(self.now, min(event.time, arrived))
        for place, label in self._pop(name):
            self._wait(place, label, event)

    def label(self, place: str, label: Label) -> None:
        """One more label; `place` is where it stands."""
        event = self.events.get(label.event)
        if event is not None:
            self._wait(place, label, event)
            return
        self.unknown.setdefault(label.event, []).append((place, label))
        self._alone += 1
        if self._alone > self.remembered:
            self.forgotten += len(self._pop(next(iter(self.unknown))))

    def ready(self) -> Iterator[tuple[str, Label, Event, float]]:
        """Labels whose time has come, in order of it: where each stands, its event, and its time."""
        while self.due and self.due[0][0] <= self.now:
            time, _, place, label, event = heapq.heappop(self.due)
            yield place, label, event, time

    def _pop(self, name: str) -> list[tuple[str, Label]]:
        found = self.unknown.pop(name, [])
        self._alone -= len(found)
        return found

    def _wait(self, place: str, label: Label, event: Event) -> None:
        if len(self.due) >= self.remembered:
            self.forgotten += 1
            return
        time = event.time + self.delay if label.time != label.time else max(label.time, event.time + self.delay)
        heapq.heappush(self.due, (time, next(self._number), place, label, event))


class Join:
    """Copies labels of a topic into a stream's. Raises `JoinError` for a stream whose records can't have any."""

    def __init__(
        self,
        stream: Own,
        topic: str,
        labels: str,
        decoder: Decoder,
        options: Mapping[str, Any],
        remembered: int = REMEMBERED,
    ) -> None:
        feed = stream.definition.labels
        if feed is None or not stream.definition.event:
            missing = "labels" if feed is None else "event"
            raise JoinError(labels, f"[stream.{stream.name}] has no {missing}: without, no label finds its event")
        if decoder.framing not in ("auto", "json"):
            raise JoinError(labels, f'labels among events are JSON, and the framing is "{decoder.framing}", not "auto"')
        self.stream, self.topic, self.labels, self.decoder, self.feed = stream, topic, labels, decoder, feed
        self.options = options
        self.waiting = Waiting(feed.seconds, remembered)
        self.joined = Joined()
        self.present: set[str] = set()  # places of the labels that have a copy
        self.refused = ""
        self.caught_up = False

    def run(self, stopping: Callable[[], bool], once: bool = False) -> Joined:
        """Copy until `stopping()`; `once`: what is due by what both topics hold now. Raises `JoinError`."""
        unused = {"group.id": "skimstream-unused", "enable.auto.commit": False}  # nothing is joined, nothing committed
        consumer = Consumer({**self.options, **unused, "auto.offset.reset": "earliest", "enable.partition.eof": True})
        self.producer = Producer({**self.options, "enable.idempotence": True, "on_delivery": self._delivered})
        try:
            self._read(consumer, [self.topic], stopping, once=True)
            self.caught_up = True
            log.info("joining", extra={"topic": self.topic, "labels": self.labels, "events": self.joined.events})
            self._read(consumer, [self.topic, self.labels], stopping, once)
        except KafkaException as error:
            raise JoinError(self.labels, error.args[0].str()) from error
        finally:
            consumer.close()
        waiting = self.waiting
        self.joined.unknown, self.joined.early = sum(map(len, waiting.unknown.values())), len(waiting.due)
        self.joined.forgotten = waiting.forgotten
        log.info("joined", extra=asdict(self.joined))
        return self.joined

    def _read(self, consumer: Consumer, topics: list[str], stopping: Callable[[], bool], once: bool) -> None:
        left = set()
        for topic in topics:
            if topic == self.topic and self.caught_up:
                continue  # goes on where it is
            for partition in _partitions(consumer, topic):
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_SECONDS)
                consumer.incremental_assign([TopicPartition(topic, partition, low)])
                if low < high:
                    left.add((topic, partition))
        while not stopping() and not (once and not left):
            for topic, messages in _by_topic(consumer.consume(AT_ONCE, SECONDS), left).items():
                (self._take_events if topic == self.topic else self._take_labels)(messages)
            if self.caught_up:
                self._copy()

    def _take_events(self, messages: list[Message]) -> None:
        headers = [headers_of(message) for message in messages]
        decoded = self.decoder.decode(
            [message.value() for message in messages], [message.key() for message in messages], headers
        )
        columns, of, stream = decoded.columns, self.stream.definition, self.stream
        wrong, labels, times = {row for row, _ in stream.check(columns)}, stream.labels(columns), stream.times(columns)
        for row, place in enumerate(decoded.index.tolist()):
            if row in wrong:
                continue
            if labels[row] == labels[row]:  # not NaN
                self._seen(dict(headers[place] or ()).get(LABEL))
                continue
            message = messages[place]
            fields = {name: stream.said(columns, name, row) for name in (*stream.ids, *of.entities)}
            fields[self.feed.event_time] = stream.said(columns, of.time, row)
            arrived = message.timestamp()[1] / 1000 if message.timestamp()[1] > 0 else float("inf")
            event = Event(message.partition() or 0, message.key(), fields, float(times[row]))
            self.waiting.event(stream.event_id(columns, row), event, arrived)
            self.joined.events += 1

    def _seen(self, header: str | bytes | None) -> None:
        place = header.decode("utf-8", "replace") if isinstance(header, bytes) else header
        if not place or place.rpartition("/")[0].rpartition("/")[0] != self.labels or place in self.present:
            return
        if self.caught_up:
            raise JoinError(self.labels, f"another process copies them into {self.topic}, too: end one of the two")
        self.present.add(place)

    def _take_labels(self, messages: list[Message]) -> None:
        for message in messages:
            place = f"{self.labels}/{message.partition()}/{message.offset()}"
            self.joined.labels += 1
            if place in self.present:
                self.joined.present += 1
                continue
            try:
                label = read(message.value(), self.stream.time_format)
            except DecodeError as error:
                self.joined.unreadable += 1
                log.warning("not a label", extra={"place": place, "reason": str(error)})
                continue
            self.waiting.label(place, label)

    def _copy(self) -> None:
        for place, label, event, time in self.waiting.ready():
            self.present.add(place)
            record = {
                **event.fields,
                self.stream.definition.time: written(time, self.stream.time_format),
                self.feed.field: int(label.anomaly),
            }
            self.producer.produce(
                self.topic,
                json.dumps(nested(record), separators=(",", ":")).encode(),
                event.key,
                event.partition,
                headers=[(LABEL, place.encode())],
            )
            self.joined.copied += 1
            if self.joined.copied % AT_ONCE == 0:
                self.producer.flush()
        self.producer.flush()
        if self.refused:
            raise JoinError(self.labels, f"{self.topic} doesn't take them: {self.refused}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.refused = error.str()


def nested(record: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted paths as records within records.

    >>> nested({"card": "c1", "payment.paid": 17, "payment.shop": 3})
    {'card': 'c1', 'payment': {'paid': 17, 'shop': 3}}
    """
    made: dict[str, Any] = {}
    for path, value in record.items():
        *folders, name = path.split(".")
        inner = made
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = value
    return made


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    found = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _by_topic(messages: list[Message], left: set[tuple[str, int]]) -> dict[str, list[Message]]:
    """Messages by topic, in order; partitions that are read to their end are taken out of `left`."""
    found: dict[str, list[Message]] = {}
    for message in messages:
        error, topic = message.error(), message.topic() or ""
        if error is None:
            found.setdefault(topic, []).append(message)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's public name
            left.discard((topic, message.partition() or 0))
        elif not (error.retriable() or error.code() in PASSING):
            raise KafkaException(error)
    return found
