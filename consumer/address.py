"""The address of a partition: its topic and its number there."""

from typing import NamedTuple

from confluent_kafka import TopicPartition


class Address(NamedTuple):
    """A topic's partition. It sorts by topic, then by number.

    >>> Address("alerts", 3).name, Address.of("alerts/3") == ("alerts", 3)
    ('alerts/3', True)
    """

    topic: str
    number: int

    @property
    def name(self) -> str:
        """`<topic>/<number>`, as the board knows it."""
        return f"{self.topic}/{self.number}"

    @classmethod
    def of(cls, name: str) -> "Address":
        """The address that a name tells. Raises ValueError if it tells none."""
        topic, _, number = name.rpartition("/")
        return cls(topic, int(number))

    def at(self, offset: int) -> TopicPartition:
        """The place of an offset there, as Kafka's client takes it."""
        return TopicPartition(self.topic, self.number, offset)
