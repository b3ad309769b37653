"""Topics that the worker writes to: created at the start if they aren't there."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

log = logging.getLogger(__name__)

# How long a start waits to hear of the topic, and for it to be created; a broker that is up answers at once.
PROVIDE_SECONDS = 5.0
DEFAULT_REPLICATION = -1  # the broker's own (Kafka 2.4 and later)


def provide(options: Mapping[str, Any], name: str, seconds: float = PROVIDE_SECONDS) -> bool:
    """See that a topic is there, else create it; False, with a warning, if that fails.

    Not fatal: nobody may ever need it. One partition, since what goes there is little and is read in one order.
    """
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
        log.warning("a topic to write to may be missing", extra={"topic": name, "reason": refused.args[0].str()})
        return False
    log.info("topic created", extra={"topic": name})
    return True
