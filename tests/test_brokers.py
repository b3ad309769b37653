"""The servers that tests break, and the tools that break them: each does what its name says."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from brokers.kafka import Kafka
from brokers.mock import Api, MockCluster
from brokers.proxy import FaultProxy
from brokers.redis import RedisServer
from brokers.server import ServerFailed, free_port
from brokers.tansu import Tansu

TESTS = Path(__file__).parent
SECONDS = 20.0  # until a test gives up


def eventually(true: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def send(bootstrap: str, topic: str, values: list[bytes], **options: object) -> None:
    """All messages to partition 0, each confirmed."""
    producer, refused = Producer({"bootstrap.servers": bootstrap, "log_level": 0} | options), list[KafkaError]()

    def reported(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error)

    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=reported)
    assert producer.flush(SECONDS) == 0
    assert refused == []


def receive(bootstrap: str, topic: str, count: int, start: int = 0, group: str = "", **options: object) -> list[bytes]:
    """The next messages: of partition 0 from an offset, or of all partitions as a group's member that commits."""
    own: dict[str, object] = {"bootstrap.servers": bootstrap, "group.id": group or "none", "log_level": 0}
    own |= {"enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": 6000}
    consumer, values = Consumer(own | options), list[bytes]()
    try:
        if group:
            consumer.subscribe([topic])
        else:
            consumer.assign([TopicPartition(topic, 0, start)])
        deadline = time.monotonic() + SECONDS
        while len(values) < count and time.monotonic() < deadline:
            for message in consumer.consume(count - len(values), 0.1):
                if (error := message.error()) is None:
                    values.append(message.value() or b"")
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  (its public name is this)
                    raise KafkaException(error)
        if group:
            consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return values


def numbers(start: int, stop: int) -> list[bytes]:
    return [b"%d" % number for number in range(start, stop)]


def closed(address: str) -> bool:
    """Whether connections are refused."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


# ---- Kafka ----


def test_kafka_keeps_messages_and_a_groups_place_over_kill_9(kafka: Kafka) -> None:
    kafka.create_topic("kept", partitions=2)
    send(kafka.bootstrap, "kept", numbers(0, 20))
    assert receive(kafka.bootstrap, "kept", 8, group="kept") == numbers(0, 8)
    before = kafka.pid
    kafka.restart()
    assert kafka.pid != before
    assert receive(kafka.bootstrap, "kept", 12, group="kept") == numbers(8, 20)


def test_kafka_makes_no_topic_by_itself(kafka: Kafka) -> None:
    with pytest.raises(AssertionError):
        send(kafka.bootstrap, "never-made", [b"x"], **{"message.timeout.ms": 1000})


def test_a_paused_kafka_keeps_silent_and_goes_on(kafka: Kafka) -> None:
    kafka.create_topic("paused", partitions=1)
    kafka.pause()
    with pytest.raises(KafkaException):
        Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0}).list_topics(timeout=0.3)
    kafka.resume()
    send(kafka.bootstrap, "paused", numbers(0, 3))


def test_kafka_says_when_an_offset_is_gone(kafka: Kafka) -> None:
    kafka.create_topic("shortened", partitions=1)
    send(kafka.bootstrap, "shortened", numbers(0, 10))
    kafka.delete_records("shortened", 0, before=6)
    assert receive(kafka.bootstrap, "shortened", 4) == numbers(6, 10)
    with pytest.raises(KafkaException) as caught:
        receive(kafka.bootstrap, "shortened", 1, start=2, **{"auto.offset.reset": "error"})
    assert caught.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001  (its public name is this)


def test_kafka_drops_what_is_too_old_while_one_waits(kafka: Kafka) -> None:
    kafka.create_topic("ageing", partitions=1, retention_ms=500, segment_ms=100)
    send(kafka.bootstrap, "ageing", numbers(0, 5))
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "none"})
    where = TopicPartition("ageing", 0)
    assert eventually(lambda: consumer.get_watermark_offsets(where, timeout=SECONDS) == (5, 5))
    consumer.close()


def test_clients_of_kafkas_proxy_stay_in_it(kafka: Kafka) -> None:
    kafka.create_topic("proxied", partitions=1)
    with kafka.proxied() as proxy:
        send(proxy.address, "proxied", numbers(0, 5))
        reached = proxy.connections
        assert reached >= 2  # the bootstrap one, and the one that metadata name
        proxy.cut()
        with pytest.raises(KafkaException):
            Producer({"bootstrap.servers": proxy.address, "log_level": 0}).list_topics(timeout=0.3)
        proxy.heal()
        assert receive(proxy.address, "proxied", 5) == numbers(0, 5)


# ---- Tansu ----


def test_tansu_resumes_a_group_and_forgets_all_on_kill_9(tansu: Tansu) -> None:
    tansu.create_topic("kept", partitions=2)
    send(tansu.bootstrap, "kept", numbers(0, 20))
    assert receive(tansu.bootstrap, "kept", 8, group="kept") == numbers(0, 8)
    assert receive(tansu.bootstrap, "kept", 12, group="kept") == numbers(8, 20)
    tansu.restart()
    assert "kept" not in tansu.admin().list_topics(timeout=SECONDS).topics


# ---- the mock cluster ----


def test_injected_errors_are_met_and_survived(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("faulty", partitions=1)
    mock_cluster.track_requests()
    mock_cluster.push_errors(Api.PRODUCE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT)
    send(mock_cluster.bootstrap, "faulty", numbers(0, 10))
    assert len(mock_cluster.requests(Api.PRODUCE)) == 3
    assert receive(mock_cluster.bootstrap, "faulty", 10) == numbers(0, 10)
    assert mock_cluster.requests(Api.FETCH)[0].broker in mock_cluster.brokers


def test_cleared_errors_are_not_met(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("faulty", partitions=1)
    mock_cluster.push_errors(Api.PRODUCE, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 5)
    with pytest.raises(AssertionError):
        send(mock_cluster.bootstrap, "faulty", [b"x"])
    mock_cluster.clear_errors(Api.PRODUCE)
    send(mock_cluster.bootstrap, "faulty", [b"y"])


def test_a_partition_moves_to_another_broker(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("moving", partitions=1)
    for broker in (2, 3):
        mock_cluster.set_leader("moving", 0, broker)
        mock_cluster.track_requests()
        send(mock_cluster.bootstrap, "moving", [b"%d" % broker])
        assert [request.broker for request in mock_cluster.requests(Api.PRODUCE)] == [broker]


def test_a_groups_coordinator_is_the_one_that_was_set(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("grouped", partitions=1)
    mock_cluster.set_coordinator("grouped", 2)
    send(mock_cluster.bootstrap, "grouped", numbers(0, 3))
    mock_cluster.track_requests()
    assert receive(mock_cluster.bootstrap, "grouped", 3, group="grouped") == numbers(0, 3)
    assert {request.broker for request in mock_cluster.requests(Api.JOIN_GROUP)} == {2}


def test_brokers_go_down_and_come_back_with_everything(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("down", partitions=1)
    send(mock_cluster.bootstrap, "down", numbers(0, 3))
    mock_cluster.broker_down()
    assert all(closed(address) for address in mock_cluster.bootstrap.split(","))
    mock_cluster.broker_up()
    assert receive(mock_cluster.bootstrap, "down", 3) == numbers(0, 3)


def test_the_mock_holds_replies_back(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("slow", partitions=1)
    mock_cluster.round_trip(0.3)
    started = time.monotonic()
    send(mock_cluster.bootstrap, "slow", [b"x"])
    assert time.monotonic() - started >= 0.3


def test_the_mock_drops_records_as_retention_does(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("shortened", partitions=1)
    for value in numbers(0, 10):  # it drops whole message sets
        send(mock_cluster.bootstrap, "shortened", [value])
    mock_cluster.delete_records("shortened", 0, before=6)
    assert receive(mock_cluster.bootstrap, "shortened", 4) == numbers(6, 10)


def test_clients_of_the_mocks_proxy_stay_in_it(fault_proxy: Callable[[str], FaultProxy]) -> None:
    with MockCluster() as cluster:
        cluster.create_topic("proxied", partitions=1)
        proxy = fault_proxy(cluster.bootstrap)
        cluster.advertise(1, proxy.address)
        send(proxy.address, "proxied", numbers(0, 5))
        assert proxy.connections >= 2
        proxy.cut()
        with pytest.raises(AssertionError):
            send(proxy.address, "proxied", [b"lost"], **{"message.timeout.ms": 500})
        proxy.heal()
        assert receive(proxy.address, "proxied", 5) == numbers(0, 5)


def test_the_mock_names_unknown_partitions_and_its_end(mock_cluster: MockCluster) -> None:
    mock_cluster.create_topic("known", partitions=1)
    with pytest.raises(KafkaException):
        mock_cluster.set_leader("known", 7, 1)
    mock_cluster.close()
    mock_cluster.close()
    with pytest.raises(ValueError, match="closed"):
        mock_cluster.broker_down()


# ---- the proxy, before Redis ----


@pytest.fixture
def proxied(
    fault_proxy: Callable[[str], FaultProxy], redis_server: Callable[..., RedisServer]
) -> tuple[FaultProxy, redis.Redis]:
    """A proxy, and a client of a Redis behind it that gives up after half a second."""
    server = redis_server()
    proxy = fault_proxy(server.address)
    client = server.client(proxy.address, socket_timeout=0.5)
    client.set("key", "v" * 100_000)
    return proxy, client


def test_the_proxy_forwards_and_counts(proxied: tuple[FaultProxy, redis.Redis]) -> None:
    proxy, client = proxied
    assert client.get("key") == b"v" * 100_000
    assert proxy.connections == 1


def test_the_proxy_delays_replies(proxied: tuple[FaultProxy, redis.Redis]) -> None:
    proxy, client = proxied
    proxy.delay(0.1)
    started = time.monotonic()
    client.ping()
    assert time.monotonic() - started >= 0.1
    proxy.delay(1.0)
    with pytest.raises(redis.TimeoutError):
        client.ping()
    proxy.heal()
    assert client.ping()


def test_the_proxy_cuts_and_refuses_until_it_heals(proxied: tuple[FaultProxy, redis.Redis]) -> None:
    proxy, client = proxied
    proxy.cut()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    assert closed(proxy.address)
    proxy.heal()
    assert client.ping()


def test_the_proxy_cuts_in_mid_reply_after_the_server_did_the_work(
    proxied: tuple[FaultProxy, redis.Redis], redis_server: Callable[..., RedisServer]
) -> None:
    proxy, client = proxied
    proxy.cut_after(2)
    with pytest.raises(redis.ConnectionError):
        client.incrby("count", 5)
    assert proxy.was_cut.is_set()
    assert client.get("count") == b"5"  # once, and the next connection is served


def test_the_bytes_before_the_cut_arrive(fault_proxy: Callable[[str], FaultProxy]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = fault_proxy(f"127.0.0.1:{server.getsockname()[1]}")
        proxy.cut_after(5)
        with socket.create_connection(("127.0.0.1", proxy.port), SECONDS) as client:
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b"0123456789")
                assert b"".join(iter(lambda: client.recv(100), b"")) == b"01234"


def test_a_half_open_proxy_answers_no_one(proxied: tuple[FaultProxy, redis.Redis]) -> None:
    proxy, client = proxied
    proxy.half_open()
    with pytest.raises(redis.TimeoutError):  # on the old connection
        client.ping()
    with pytest.raises(redis.TimeoutError):  # on a new one, that is accepted
        client.ping()
    assert not closed(proxy.address)
    proxy.heal()
    assert client.ping()


def test_a_half_open_proxy_doesnt_tell_that_its_target_is_dead(fault_proxy: Callable[[str], FaultProxy]) -> None:
    proxy = fault_proxy(f"127.0.0.1:{free_port()}")
    proxy.half_open()
    with socket.create_connection(("127.0.0.1", proxy.port), 0.2) as client:
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.heal()
        assert client.recv(1) == b""  # closed


# ---- Redis ----


def test_redis_goes_back_to_its_last_snapshot(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    with server.client() as client:
        client.set("key", "old")
        server.snapshot()
        client.set("key", "new")
        port, before = server.port, server.pid
        server.roll_back()
        assert (server.port, server.pid == before) == (port, False)
        assert client.get("key") == b"old"


def test_a_restarted_redis_had_no_time_to_save(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(save="3600 1")  # with this it saves when it is asked to end
    with server.client() as client:
        client.set("key", "value")
        server.restart()
        assert client.get("key") is None


def test_redis_with_a_log_loses_nothing(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(appendonly="yes", appendfsync="always")
    with server.client() as client:
        client.set("key", "value")
        server.restart()
        assert client.get("key") == b"value"


def test_a_full_redis_refuses_writes_only(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    with server.client() as client:
        client.set("key", "value")
        server.fill()
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("key", "more")
        assert client.get("key") == b"value"
        server.drain()
        client.set("key", "more")


def test_a_read_only_redis_keeps_its_data(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    with server.client() as client:
        client.set("key", "value")
        server.read_only()
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("key", "more")
        assert client.get("key") == b"value"
        server.writable()
        client.set("key", "more")


def test_redis_locks_out_who_has_the_old_password(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(password="first")  # noqa: S106  (of a server that lives for a second)
    with server.client() as client:
        client.set("key", "value")
        server.set_password("second")
        with pytest.raises(redis.exceptions.ConnectionError):  # closed by the server
            client.get("key")
        with pytest.raises(redis.exceptions.AuthenticationError):
            client.get("key")
    with server.client() as client:
        assert client.get("key") == b"value"


def test_a_server_that_cant_start_says_why(redis_server: Callable[..., RedisServer]) -> None:
    with pytest.raises(ServerFailed, match="no-such-option"):
        redis_server(no_such_option="1")


def test_a_server_restarted_by_a_short_lived_thread_stays(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    thread = threading.Thread(target=server.restart)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert server.alive
    assert server.answers()


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_servers_end_with_the_tests_that_are_killed(tmp_path: Path) -> None:
    code = "from brokers.redis import RedisServer; s = RedisServer(); s.start(); print(s.address, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=TESTS,
        env=os.environ | {"TMPDIR": str(tmp_path)},  # its folder stays
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert not closed(address)
        os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: closed(address))
