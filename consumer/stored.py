"""What a topic holds: read from its beginning to the end that it has when it is asked, outside of any group.

Or for a while: what is there and what comes meanwhile.
"""

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..schemas.errors import SkimError

ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 30.0
# One call takes so many messages, or what came within so long.
AT_ONCE, AT_ONCE_SECONDS = 500, 0.1
WAITING = (KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 - librdkafka's public names


class TopicUnreadable(SkimError):
    """A topic can't be read to its end."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(f"topic {topic}: {problem}")
        self.topic = topic
        self.problem = problem


def stored(options: Mapping[str, Any], topic: str, seconds: float | None = None) -> Generator[Message, None, None]:
    """All messages of a topic, each partition's in order. Nobody's offsets change. Raises `TopicUnreadable`.

    With `seconds`, what is there and what comes until they are over.
    """
    consumer = Consumer(
        {
            "group.id": "skimstream-unused",  # librdkafka wants one; nothing is joined and nothing is committed
            **options,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,  # offsets have gaps, so a partition's last one may never come
        }
    )
    try:
        yield from _to_the_end(consumer, topic) if seconds is None else _for_a_while(consumer, topic, seconds)
    except KafkaException as error:
        raise TopicUnreadable(topic, error.args[0].str()) from error
    finally:
        consumer.close()


def _to_the_end(consumer: Consumer, topic: str) -> Iterator[Message]:
    starts: list[TopicPartition] = []
    ends: dict[int, int] = {}
    for one in _partitions(consumer, topic):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=ANSWER_SECONDS)
        if low < high:
            starts.append(TopicPartition(topic, one, low))
            ends[one] = high
    consumer.assign(starts)
    heard = time.monotonic()
    while ends:
        messages = consumer.consume(AT_ONCE, AT_ONCE_SECONDS)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise TopicUnreadable(topic, f"nothing came for {SILENCE_SECONDS:.0f} s, though there is more")
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            if partition is None or offset is None:
                continue
            if error is None and partition in ends and offset < ends[partition]:
                yield message
            elif error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
                    continue
                raise KafkaException(error)
            if partition in ends and offset + (error is None) >= ends[partition]:
                del ends[partition]


def _for_a_while(consumer: Consumer, topic: str, seconds: float) -> Iterator[Message]:
    until = time.monotonic() + seconds
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in _partitions(consumer, topic)])
    while (left := until - time.monotonic()) > 0:
        for message in consumer.consume(AT_ONCE, min(left, AT_ONCE_SECONDS)):
            error = message.error()
            if error is None:
                yield message
            elif not (error.retriable() or error.code() in WAITING):
                raise KafkaException(error)


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    found = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)
