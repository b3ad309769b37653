"""What a topic holds now: read from its beginning to the end that it has when it is asked, outside of any group."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..schemas.errors import SkimError

ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 30.0
# One call takes so many messages, or what came within so long.
AT_ONCE, AT_ONCE_SECONDS = 500, 0.1


class TopicUnreadable(SkimError):
    """A topic can't be read to its end."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(f"topic {topic}: {problem}")
        self.topic = topic
        self.problem = problem


def stored(options: Mapping[str, Any], topic: str) -> Iterator[Message]:
    """All messages of a topic, each partition's in order. Nobody's offsets change. Raises `TopicUnreadable`."""
    consumer = Consumer(
        {
            **options,
            "group.id": "skimstream-unused",  # librdkafka wants one; nothing is joined and nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,  # offsets have gaps, so a partition's last one may never come
        }
    )
    try:
        yield from _to_the_end(consumer, topic)
    except KafkaException as error:
        raise TopicUnreadable(topic, error.args[0].str()) from error
    finally:
        consumer.close()


def _to_the_end(consumer: Consumer, topic: str) -> Iterator[Message]:
    starts: list[TopicPartition] = []
    ends: dict[int, int] = {}
    found = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    for partition in found.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_SECONDS)
        if low < high:
            starts.append(TopicPartition(topic, partition, low))
            ends[partition] = high
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
