"""Kafka: can the brokers be reached, do they let us in, is the topic there, may it be read, can letters be written."""

import logging
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]

from ...schemas.errors import SkimError
from ..config import Settings
from ..connection import SILENT, TOKEN_ENDPOINT, Trouble, translated
from ..letter import SUFFIX
from ..login import NotReady, login_of, require
from ..run import group_options, kafka_options, outgoing_options
from ..topics import Topics
from .finding import PROBLEM, Finding, found, ok, troubled

CHECK = "kafka"
CONNECT_SECONDS, ASK_SECONDS, GROUP_SECONDS, READ_SECONDS = 2.0, 5.0, 3.0, 2.0
MOST_BROKERS = 3  # of a hundred, those that are wrongly named are all wrongly named
RIGHTS_SECONDS = 2.0  # a question that not every broker understands


class Client:
    """A consumer that joins no group, creates no topic, and remembers what librdkafka complained of."""

    def __init__(self, settings: Settings, outgoing: bool = False) -> None:
        self.complaints: list[tuple[str, str]] = []  # codes' names and texts
        # Some of it librdkafka only logs.
        log = logging.Logger("librdkafka")
        log.addHandler(_Notes(self.complaints))
        unjoined = {**outgoing_options(settings), "group.id": "skimstream-unused"}
        options: dict[str, Any] = {
            **(unjoined if outgoing else {**kafka_options(settings), **group_options(settings)}),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "log_level": 6,
            "error_cb": lambda error: self.complaints.append((error.name(), error.str())),
        }
        options.pop("group.instance.id", None)
        self.consumer = Consumer(options, logger=log)

    @property
    def cut_off(self) -> bool:
        """Whether every broker has hung up, or none was reached."""
        return any(name == "_ALL_BROKERS_DOWN" for name, _ in self.complaints)

    @property
    def greeted(self) -> bool:
        """Whether a broker answered who we are (ApiVersions), and hung up when asked anything else."""
        return any("Disconnected" in text and "in state UP" in text for _, text in self.complaints)

    def trouble(self) -> tuple[Trouble, str] | None:
        """The first complaint that has a meaning, and its text."""
        message = self.consumer.poll(0)
        if message is not None and (problem := message.error()) is not None:
            self.complaints.append((problem.name(), problem.str()))
        for name, text in sorted(self.complaints, key=lambda one: not one[0]):  # those with a code say it better
            if (known := translated(name, text)) is not None:
                return known, text
        return None


class _Notes(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, notes: list[tuple[str, str]]) -> None:
        super().__init__()
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(("", record.getMessage().rpartition("]: ")[2]))


def brokers(settings: Settings, topics: Topics) -> Iterator[Finding]:
    """What stands between us and the topic; what comes after the first thing that does isn't looked at."""
    topic = topics.now()[0]
    try:
        require(settings)
        options = login_of(settings).options
        client = Client(settings)
    except KafkaException as error:
        yield _of(error.args[0])
        return
    except NotReady as error:
        for lack in error.lacks:
            yield found(CHECK, lack.id, lack.says)
        return
    servers = addresses(str(options["bootstrap.servers"]))
    try:
        cluster = metadata(client, topic)
    except NotLetIn as error:
        yield _why(error, client, servers, options)
        return
    named = [(one.host, one.port) for one in cluster.brokers.values()]
    away = [f"{host}:{port} ({problem})" for host, port in named[:MOST_BROKERS] if (problem := unreachable(host, port))]
    if away:
        yield found(CHECK, "kafka-advertised", "the bootstrap server answers, but names " + ", ".join(away))
        return
    login = options.get("security.protocol", "PLAINTEXT")
    yield ok(CHECK, f"{len(named)} broker{'s' * (len(named) != 1)}, {login}")
    yield from _topics(client, cluster, topics)
    if settings.outgoing.bootstrap:
        client = Client(settings, outgoing=True)
    yield from _writable(settings, client, "dead-letters", topics.name + SUFFIX)
    anomalies = settings.anomalies.topic
    if settings.monitor and anomalies != "":
        yield from _writable(settings, client, "anomalies", anomalies or f"skim.{settings.stream}.anomalies")


class NotLetIn(SkimError):
    """The brokers gave no metadata."""

    def __init__(self, trouble: Trouble | None, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


def metadata(client: Client, topic: str, seconds: float = ASK_SECONDS) -> Any:
    """What the brokers say of the topic. Raises `NotLetIn` as soon as it is clear that they won't."""
    until, last, wait = time.monotonic() + seconds, "no answer", 0.2
    while (left := until - time.monotonic()) > 0:
        try:
            return client.consumer.list_topics(topic, timeout=min(wait, left))
        except KafkaException as error:
            last = error.args[0].str()
        trouble = client.trouble()
        # One server of several may well be away; but without a token there is no server to go to.
        if trouble is not None and (client.cut_off or trouble[0].id.startswith("kafka-token")):
            raise NotLetIn(*trouble)
        if client.cut_off and wait > 0.5:  # who hangs up at once, again and again, won't say why
            break
        time.sleep(0.05)
        wait *= 2
    raise NotLetIn(*(client.trouble() or (None, last)))


def _why(error: NotLetIn, client: Client, servers: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> Finding:
    """librdkafka doesn't always say it: a TLS port hangs up on who doesn't speak TLS, and that is all that is seen."""
    if error.trouble is not None:
        return troubled(CHECK, error.trouble, str(error))
    protocol = str(options.get("security.protocol", "")).upper()
    for host, port in servers:
        if (problem := unreachable(host, port)) is not None:
            known = translated("", problem)
            return found(CHECK, known.id if known else "kafka-unreachable", f"{host}:{port}: {problem}")
        if "SSL" not in protocol and speaks_tls(host, port):
            return found(CHECK, "kafka-tls-missing", f"{host}:{port} speaks TLS")
        if client.greeted and "SASL" not in protocol:
            return found(CHECK, "kafka-login-missing", f"{host}:{port} is a broker's, and hangs up on us")
    issuer = options.get("sasl.oauthbearer.token.endpoint.url")
    if issuer and "SASL" in protocol and not client.complaints:  # an issuer that is unwell (5xx) is asked on in silence
        return troubled(CHECK, TOKEN_ENDPOINT, f"no token has come from {issuer} in {ASK_SECONDS:g} s")
    return troubled(CHECK, SILENT, str(error))


def _topics(client: Client, cluster: Any, topics: Topics) -> Iterator[Finding]:
    """The topic; of a topic a night, the latest that is there. None of them: it may be cloudy."""
    latest, *before = topics.now()
    if not before or cluster.topics[latest].error is None:
        yield from _topic(client, cluster, latest)
        return
    for name in before:
        if (cluster := metadata(client, name)).topics[name].error is None:
            yield from _topic(client, cluster, name)
            return
    yield found("topic", "topic-empty", f"{' or '.join(topics.now())} is not there yet; it will be read when it is")


def _topic(client: Client, cluster: Any, topic: str) -> Iterator[Finding]:
    about = cluster.topics[topic]
    if about.error is not None:
        yield _of(about.error, "topic", topic)
        return
    numbers = sorted(about.partitions)
    yield ok("topic", f"{topic}: {len(numbers)} partition{'s' * (len(numbers) != 1)}; so many workers may share it")
    places = [TopicPartition(topic, number) for number in numbers]
    try:
        client.consumer.committed(places[:1], timeout=GROUP_SECONDS)
    except KafkaException as error:
        trouble = client.trouble()
        yield troubled("group", *trouble) if trouble else _of(error.args[0], "group")
    else:
        yield ok("group", "may be used")
    yield from _readable(client, places)


def _readable(client: Client, places: list[TopicPartition]) -> Iterator[Finding]:
    """Read at the end of each partition: that it is the end is told only to who may read."""
    try:
        marks = [client.consumer.get_watermark_offsets(one, timeout=ASK_SECONDS) for one in places]
        if not any(marks_of and marks_of[1] > marks_of[0] for marks_of in marks):
            yield found("topic", "topic-empty", f"{places[0].topic} holds no message")
        ends = zip(places, marks, strict=True)
        client.consumer.assign([TopicPartition(one.topic, one.partition, end[1]) for one, end in ends if end])
        until = time.monotonic() + READ_SECONDS
        while time.monotonic() < until:
            message = client.consumer.poll(0.1)
            error = message.error() if message is not None else None
            if error is not None and error.code() not in (KafkaError._PARTITION_EOF, KafkaError._TRANSPORT):  # noqa: SLF001
                yield _of(error, "topic", places[0].topic or "")
                return
            if message is not None:
                return
    except KafkaException as error:
        yield _of(error.args[0], "topic", places[0].topic or "")


def _writable(settings: Settings, client: Client, check: str, name: str) -> Iterator[Finding]:
    """Whether a topic is there and, where the brokers tell, may be written to; nothing is written to see."""
    try:
        about = client.consumer.list_topics(name, timeout=ASK_SECONDS).topics[name]
    except KafkaException as error:
        yield _of(error.args[0], check)
        return
    if about.error is not None:
        if about.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            yield found(check, f"{check}-acl", f"{name}: {about.error.str()}")
        else:
            yield found(check, f"{check}-missing", f"{name}: {about.error.str()}")
        return
    allowed = _allowed(settings, name)
    if allowed and AclOperation.WRITE not in allowed:
        yield found(check, f"{check}-acl", f"{name} is there, but may not be written to")
    else:
        yield ok(check, f"{name} is there{', and may be written to' if allowed else ''}")


def _allowed(settings: Settings, topic: str) -> list[AclOperation]:
    """What may be done with a topic (KIP-430); empty where the brokers don't tell."""
    from confluent_kafka import TopicCollection

    admin = AdminClient({**outgoing_options(settings), "log_level": 0})
    asked = admin.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=RIGHTS_SECONDS
    )
    try:
        return list(asked[topic].result(RIGHTS_SECONDS).authorized_operations or ())
    except (KafkaException, TimeoutError):  # older brokers: that it is there has to do
        return []


def addresses(servers: str) -> list[tuple[str, int]]:
    """Host and port of each server in a list as librdkafka takes it.

    >>> addresses("a:1, SASL_SSL://b,[::1]:3")
    [('a', 1), ('b', 9092), ('::1', 3)]
    """
    found_ = []
    for one in filter(None, (part.strip() for part in servers.split(","))):
        host, colon, port = one.rpartition("://")[2].rpartition(":")
        if not colon or not port.isdigit():
            host, port = one.rpartition("://")[2], "9092"
        found_.append((host.strip("[]"), int(port)))
    return found_


def unreachable(host: str, port: int) -> str | None:
    """Why no connection can be made, None if one can."""
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def speaks_tls(host: str, port: int) -> bool:
    """Whether a server there answers a TLS greeting; nothing is sent after that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _of(error: KafkaError, check: str = CHECK, what: str = "") -> Finding:
    says = f"{what}: {error.str()}" if what else error.str()
    known = translated(error.name(), error.str())
    return troubled(check, known, says) if known else Finding(check, PROBLEM, SILENT.id, says, SILENT.do)
