"""The internal topic `<topic>.rekeyed`: made like the topic that it repartitions, if it isn't there yet.

Of a topic a night, made like the latest that is there.
"""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from ..schemas.errors import SkimError
from .topics import Single, Topics

log = logging.getLogger(__name__)

SUFFIX = ".rekeyed"
ADMIN_SECONDS = 15.0
# What a copy needs beyond the original's size: an object's name as key, the header `skim.origin`, a batch's frame.
ROOM_BYTES = 65_536
# Taken over from the original, where the broker tells them: how long messages stay, and which times they may have.
INHERITED = ("retention.ms", "retention.bytes", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms")


class InternalTopicError(SkimError):
    """The internal topic isn't there, or not as it has to be, and a person has to see to it."""

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(f"rekey: the topic {topic} {problem}")
        self.topic = topic
        self.problem = problem


def rekeyed(topic: str) -> str:
    """The internal topic's name.

    >>> rekeyed("alerts")
    'alerts.rekeyed'
    """
    return topic + SUFFIX


def ensure(options: Mapping[str, Any], topics: Topics | str, partitions: int | None = None) -> int:
    """See that the internal topic of `topics` exists; how many partitions it has. Safe to call by several at once.

    It gets as many partitions as they have unless told otherwise. Raises `InternalTopicError`.
    """
    topics = Single(topics) if isinstance(topics, str) else topics
    admin, name = AdminClient(dict(options)), rekeyed(topics.name)
    sizes = _sizes(admin, name)
    if name not in sizes:
        there = [topic for topic in topics.now() if topic in sizes]
        if not there and partitions is None:
            missing = " or ".join(topics.now())
            problem = f"can't be made: {missing} is not there yet, so its number of partitions isn't known"
            raise InternalTopicError(name, f"{problem}; set rekey_partitions, or start again when it is there")
        wanted = partitions or sizes[there[0]]
        _create(admin, name, there[0] if there else topics.now()[0], wanted)
        sizes = {name: wanted, **_sizes(admin, name)}
    if partitions is not None and sizes[name] != partitions:
        problem = f"has {sizes[name]} partitions, rekey_partitions says {partitions}"
        raise InternalTopicError(name, f"{problem}; objects can't move: see docs/rekey.md, or correct the setting")
    if "compact" in _config(admin, name).get("cleanup.policy", ""):
        raise InternalTopicError(
            name, "is compacted and would lose all but an object's last message: set cleanup.policy=delete"
        )
    return sizes[name]


def _create(admin: AdminClient, name: str, topic: str, partitions: int) -> None:
    original = _config(admin, topic)
    config = {key: original[key] for key in INHERITED if key in original}
    if "max.message.bytes" in original:
        config["max.message.bytes"] = str(int(original["max.message.bytes"]) + ROOM_BYTES)
    config |= {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}
    try:
        admin.create_topics([NewTopic(name, partitions, config=config)])[name].result(ADMIN_SECONDS)
        log.info("created", extra={"topic": name, "partitions": partitions})
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was faster
            problem = f"is not there, and can't be created ({error.args[0].str()})"
            advice = f"create it with {partitions} partitions and cleanup.policy=delete"
            raise InternalTopicError(name, f"{problem}: {advice}") from error


def _sizes(admin: AdminClient, name: str) -> dict[str, int]:
    """Partitions of all topics: asking for a single one that isn't there would make some brokers create it."""
    try:
        topics = admin.list_topics(timeout=ADMIN_SECONDS).topics
    except KafkaException as error:
        problem = f"can't be looked for: no broker answers ({error.args[0].str()}); see kafka.bootstrap"
        raise InternalTopicError(name, problem) from error
    return {topic: len(found.partitions) for topic, found in topics.items() if found.error is None}


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    """A topic's settings; none if the broker doesn't tell them."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        entries = admin.describe_configs([resource])[resource].result(ADMIN_SECONDS)
    except KafkaException as error:
        log.warning("settings unknown", extra={"topic": topic, "reason": error.args[0].str()})
        return {}
    return {key: str(entry.value) for key, entry in entries.items() if entry.value is not None}
