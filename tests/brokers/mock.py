"""librdkafka's mock cluster with its faults: errors on request, brokers that go down, leaders that move.

The functions are of the librdkafka inside confluent-kafka's wheel, called by ctypes; its header calls them
experimental. The mock keeps 5 MB a partition and drops the oldest without a word. It shares code with the client, so
it can't find the client's errors; static membership, offsets in transactions and offsets_for_times don't work in it.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_int64, c_size_t, c_void_p
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from .server import Unavailable

_PRODUCER = 0  # rd_kafka_type_t


class Api(IntEnum):
    """Request types of Kafka's protocol, https://kafka.apache.org/protocol#protocol_api_keys"""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22


class Request(NamedTuple):
    """A request that a broker got."""

    api: int
    broker: int
    microseconds: int  # of a clock without a known zero


# Result and arguments of each function, or pointers are cut to 32 bits.
_SIGNATURES: dict[str, tuple[type | None, list[object]]] = {
    "conf_new": (c_void_p, []),
    "conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "destroy": (None, [c_void_p]),
    "mock_cluster_new": (c_void_p, [c_void_p, c_int]),
    "mock_cluster_destroy": (None, [c_void_p]),
    "mock_cluster_bootstraps": (c_char_p, [c_void_p]),
    "mock_topic_create": (c_int, [c_void_p, c_char_p, c_int, c_int]),
    "mock_topic_set_error": (None, [c_void_p, c_char_p, c_int]),
    "mock_broker_set_down": (c_int, [c_void_p, c_int32]),
    "mock_broker_set_up": (c_int, [c_void_p, c_int32]),
    "mock_broker_set_rtt": (c_int, [c_void_p, c_int32, c_int]),
    "mock_broker_set_host_port": (None, [c_void_p, c_int32, c_char_p, c_int]),
    "mock_push_request_errors_array": (None, [c_void_p, c_int16, c_size_t, POINTER(c_int)]),
    "mock_clear_request_errors": (None, [c_void_p, c_int16]),
    "mock_partition_set_leader": (c_int, [c_void_p, c_char_p, c_int32, c_int32]),
    "mock_coordinator_set": (c_int, [c_void_p, c_char_p, c_char_p, c_int32]),
    "mock_partition_delete_records": (c_int, [c_void_p, c_char_p, c_int32, c_int64]),
    "mock_group_initial_rebalance_delay_ms": (None, [c_void_p, c_int32]),
    "mock_start_request_tracking": (None, [c_void_p]),
    "mock_get_requests": (POINTER(c_void_p), [c_void_p, POINTER(c_size_t)]),
    "mock_request_api_key": (c_int16, [c_void_p]),
    "mock_request_id": (c_int32, [c_void_p]),
    "mock_request_timestamp": (c_int64, [c_void_p]),
    "mock_request_destroy_array": (None, [POINTER(c_void_p), c_size_t]),
}


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka itself uses. Raises Unavailable where it or a function is missing."""
    package = Path(confluent_kafka.__file__).parent
    found = [*package.with_name("confluent_kafka.libs").glob("librdkafka-*.so*"), *package.glob(".dylibs/librdkafka*")]
    if not found:
        raise Unavailable("needs the librdkafka of confluent-kafka's wheel")
    library = ctypes.CDLL(str(found[0]))
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, f"rd_kafka_{name}")
        except AttributeError as error:
            raise Unavailable(f"this librdkafka has no rd_kafka_{name}") from error
        function.restype, function.argtypes = result, arguments
    return library


class MockCluster:
    """Brokers 1 to `brokers` in memory, on loopback, for this and other processes; a context manager.

    Topics that clients ask for appear with 4 partitions. Errors are numbers of confluent_kafka.KafkaError
    (`KafkaError.NOT_LEADER_FOR_PARTITION`). Methods raise KafkaException for unknown topics, partitions and brokers.
    """

    def __init__(self, brokers: int = 1, rebalance_delay_ms: int = 200) -> None:
        self._library = _library()
        self.brokers = tuple(range(1, brokers + 1))
        conf, problem = self._call("conf_new"), ctypes.create_string_buffer(512)
        for name, value in ((b"log_level", b"0"), (b"client.id", b"mock")):
            self._call("conf_set", conf, name, value, problem, len(problem))
        self._client = self._call("new", _PRODUCER, conf, problem, len(problem))
        if not self._client:
            raise Unavailable(f"librdkafka: {problem.value.decode()}")
        self._cluster = self._call("mock_cluster_new", self._client, brokers)
        self.bootstrap: str = self._call("mock_cluster_bootstraps", self._cluster).decode()
        self.rebalance_delay(rebalance_delay_ms)

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Make a topic, with a replica on each broker."""
        self._check("topic_create", name.encode(), partitions, len(self.brokers))

    def push_errors(self, api: int, *errors: int) -> None:
        """Answer the next requests of a type with these errors, one each, whichever broker they reach; 0 is none."""
        self._on_cluster("push_request_errors_array", api, len(errors), (c_int * len(errors))(*errors))

    def clear_errors(self, api: int) -> None:
        """Forget the errors that were not yet met."""
        self._on_cluster("clear_request_errors", api)

    def topic_error(self, name: str, error: int = 0) -> None:
        """What metadata say of a topic from now on; 0 for well."""
        self._on_cluster("topic_set_error", name.encode(), error)

    def broker_down(self, *brokers: int) -> None:
        """Cut all connections of these brokers (none given: of all) and refuse new ones."""
        for broker in brokers or self.brokers:
            self._check("broker_set_down", broker)

    def broker_up(self, *brokers: int) -> None:
        """Let these brokers (none given: all) be reached again; they lost nothing."""
        for broker in brokers or self.brokers:
            self._check("broker_set_up", broker)

    def round_trip(self, seconds: float, *brokers: int) -> None:
        """Hold each reply of these brokers (none given: of all) back for a while."""
        for broker in brokers or self.brokers:
            self._check("broker_set_rtt", broker, round(1000 * seconds))

    def advertise(self, broker: int, address: str) -> None:
        """Name another host:port as a broker's in metadata: a proxy's. Not to be mixed with `broker_down`."""
        host, port = address.rsplit(":", 1)
        self._on_cluster("broker_set_host_port", broker, host.encode(), int(port))

    def set_leader(self, topic: str, partition: int, broker: int | None) -> None:
        """Move a partition; None leaves it without a leader."""
        self._check("partition_set_leader", topic.encode(), partition, -1 if broker is None else broker)

    def set_coordinator(self, group: str, broker: int) -> None:
        """Which broker coordinates a group."""
        self._check("coordinator_set", b"group", group.encode(), broker)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove a partition's messages below an offset, as retention does."""
        self._check("partition_delete_records", topic.encode(), partition, before)

    def rebalance_delay(self, milliseconds: int) -> None:
        """How long a new group waits for more members; librdkafka's own default is 3000."""
        self._on_cluster("group_initial_rebalance_delay_ms", milliseconds)

    def track_requests(self) -> None:
        """Remember requests from now on, none from before."""
        self._on_cluster("start_request_tracking")

    def requests(self, api: int | None = None) -> list[Request]:
        """The requests since `track_requests`, of one type or all, oldest first."""
        count = c_size_t()
        found = self._on_cluster("get_requests", ctypes.byref(count))
        try:
            all_of_them = [
                Request(
                    self._call("mock_request_api_key", one),
                    self._call("mock_request_id", one),
                    self._call("mock_request_timestamp", one),
                )
                for one in found[: count.value]
            ]
        finally:
            self._call("mock_request_destroy_array", found, count.value)
        return [request for request in all_of_them if api in (None, request.api)]

    def close(self) -> None:
        """End the cluster; connections are cut. More calls do nothing."""
        if self._cluster:
            self._call("mock_cluster_destroy", self._cluster)
            self._call("destroy", self._client)
            self._cluster = self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, name: str, *arguments: object) -> Any:
        return getattr(self._library, f"rd_kafka_{name}")(*arguments)

    def _on_cluster(self, name: str, *arguments: object) -> Any:
        if not self._cluster:
            raise ValueError("the mock cluster is closed")
        return self._call(f"mock_{name}", self._cluster, *arguments)

    def _check(self, name: str, *arguments: object) -> None:
        error = self._on_cluster(name, *arguments)
        if error:
            raise KafkaException(KafkaError(error))
