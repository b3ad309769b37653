"""Puts a worker together from settings, and runs it until it is told to stop."""

import io
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
import redis
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry, make_wsgi_app
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from ..schemas.decode import Decoder
from ..schemas.errors import SkimError
from ..schemas.gather import gather
from ..scoring.model import Model
from .address import Address
from .board import Board
from .checkpoint import Begun
from .config import Settings
from .configured import configured_stream, decoder_of
from .connection import complaint, translated
from .fence import NEW, Fence
from .health import Health
from .heartbeat import Heartbeat
from .internal import ensure, rekeyed
from .letter import SUFFIX
from .login import login_of, require
from .metrics import Metrics, serve
from .nights import Nights
from .outgoing import Outgoing
from .partition import Partition
from .place import Place, place_of, until_of
from .probe import prober
from .provide import provide
from .rekey import Rekey, RekeyedDecoder, beside, key_only
from .source import Source
from .streams.base import Stream
from .tally import Tally
from .topics import Nightly, Single, Topics
from .trust import usual_trust
from .until import Bounded
from .watch_settings import notifier_of, watch_of
from .watchdog import Watchdog
from .worker import Worker

log = logging.getLogger(__name__)

# At the start: retried after 0.1, 0.2, 0.4 … 2 s, about ten seconds in all. Later the worker itself waits, polling on.
REDIS_RETRIES = 8
# A connection that has gone away while idle costs one retry, and no pause.
RUNNING_RETRIES = 1


class RedisUnavailable(SkimError):
    """Redis doesn't answer, or not as a board needs it to."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Redis: {problem}; see that it runs and that redis.url (SKIM_REDIS__URL) points at it")
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Report:
    """What a finished run did, for the last line it prints."""

    tally: Tally
    metrics_port: int
    unsaved: tuple[str, ...] = ()  # partitions whose next owner has more to learn again than it would have to


def connect(settings: Settings, retries: int = REDIS_RETRIES) -> redis.Redis:
    """A client, once Redis answers. Raises `RedisUnavailable` if nothing does, having retried with jitter."""

    def client(retries: int) -> redis.Redis:
        return redis.Redis.from_url(
            settings.redis.url.get_secret_value(),
            socket_timeout=settings.redis.timeout,
            retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=2.0), retries),
            retry_on_error=[redis.BusyLoadingError, redis.ConnectionError, redis.TimeoutError],
        )

    try:
        with client(retries) as patient:
            patient.ping()
            policy = dict(patient.info("memory")).get("maxmemory_policy", "noeviction")
    except redis.RedisError as error:
        raise RedisUnavailable(str(error)) from error
    if policy != "noeviction":
        log.warning(
            "Redis may drop what partitions learned: set maxmemory-policy to noeviction", extra={"policy": policy}
        )
    return client(RUNNING_RETRIES)


def kafka_options(settings: Settings, trouble: Callable[[str], None] = lambda kind: None) -> Mapping[str, Any]:
    """librdkafka's options: ours, the login, the user's own, which win. `trouble` hears of errors, as `BrokerLog` says.

    Raises `CredentialsError`.
    """
    options = login_of(settings).options
    return {**_usual(trouble), **usual_trust(options), **options}


def outgoing_options(settings: Settings, trouble: Callable[[str], None] = lambda kind: None) -> Mapping[str, Any]:
    """The same for the brokers that dead letters and alerts are written to: public streams take none."""
    out = settings.outgoing
    if not out.bootstrap:
        return kafka_options(settings, trouble)
    return {**_usual(trouble), "bootstrap.servers": out.bootstrap, **usual_trust(out.options), **out.options}


def _usual(trouble: Callable[[str], None]) -> dict[str, Any]:
    return {
        "client.id": "skimstream",
        "reconnect.backoff.ms": 500,
        # By itself librdkafka writes twenty lines a second to standard error while no broker answers.
        "log_level": 2,
        "error_cb": BrokerLog(trouble),
    }


def reading_options(settings: Settings) -> dict[str, Any]:
    """For who reads a topic outside of any group: some brokers refuse names of groups even if nobody joins them."""
    return {**kafka_options(settings), "group.id": login_of(settings).group}


def group_options(settings: Settings) -> dict[str, Any]:
    """librdkafka's options of the consumer group; those the user gives himself win."""
    kafka, login = settings.kafka, login_of(settings)
    member = {"group.instance.id": kafka.member} if kafka.member else {}
    explicit = {name: login.options[name] for name in kafka.options}
    return {"group.id": login.group, "group.protocol": kafka.protocol, **member, **explicit}


class BrokerLog:
    """Logs what librdkafka complains of, the same complaint at most every ten seconds.

    `trouble(kind)` hears of each: one of `COMPLAINTS`.
    """

    SECONDS = 10.0

    def __init__(self, trouble: Callable[[str], None] = lambda kind: None) -> None:
        self.trouble = trouble
        self.logged: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        """Called by librdkafka; it goes on trying by itself."""
        self.trouble(complaint(error.name()))
        now = time.monotonic()
        if now - self.logged.get(error.name(), -self.SECONDS) >= self.SECONDS:
            self.logged[error.name()] = now
            known = translated(error.name(), error.str())
            means = {"means": known.means, "do": known.do} if known else {}
            log.warning("kafka", extra={"error": error.name(), "detail": error.str(), **means})


def rekey_of(settings: Settings, stream: Stream) -> Rekey:
    """The stage that repartitions the topic. Raises `InternalTopicError`."""
    options, topics = kafka_options(settings), settings.topics
    group = {**options, **group_options(settings)}
    return Rekey(
        topics,
        ensure(options, topics, settings.rekey_partitions),
        decoder_of(settings, stream, key_only(stream.wanted, stream.key_field)),
        stream.key_field,
        {**group, "group.id": f"{group['group.id']}.rekey"},
        options,
        place_of(settings.kafka.start),
        settings.kafka.lost_offsets,
        settings.kafka.member,
    )


def warm_up(stream: Stream, model: Model) -> None:
    """Run the kernels once on nothing much, so that the first event needn't wait for a compiler."""
    empty = io.BytesIO()
    fastavro.writer(empty, {"type": "record", "name": "empty", "fields": []}, [{}])
    Decoder(stream.wanted).decode([empty.getvalue()])
    partition = Partition(Address("", 0), stream, model, Begun(Fence(0, f"0:{NEW}:0"), "", ""))
    columns = gather([{}, {}], stream.wanted)  # two rows: numba compiles anew for the layout of fewer
    partition.check(columns)
    partition.missing(columns)
    with np.errstate(invalid="ignore"):  # these rows have no time, and so no night
        partition.features(columns)
    if (entities := partition.state.entities) is not None:
        entities.put(*entities.changes())
        entities.reserve(entities.keys.room + 1)  # as it does when there are many
    for rows in (1, 64):  # a forest has one kernel for few rows and one for many
        matrix = np.tile(model.reference.median, (rows, 1))
        partition.explain(matrix, partition.ensemble.score_learn(matrix), np.arange(rows))
    partition.saved()


def run(
    settings: Settings,
    model: Model,
    stopping: Callable[[], bool],
    ready: Callable[[int, str | None], None] = lambda port, problem: None,
    make: type[Worker] = Worker,
    began: Callable[[Worker], None] = lambda worker: None,
) -> Report:
    """Run one worker until `stopping()`.

    `ready(port, problem)` is called when `/metrics` is up and the topic subscribed; `problem` says why there is nothing
    to read yet, if so. `make` is the kind of worker; `began` is given the worker before it has begun.

    Raises `SkimError` for what a person has to mend.
    """
    require(settings)
    stream = configured_stream(settings)
    topics: Topics = settings.topics
    client = connect(settings)
    metrics = Metrics(CollectorRegistry(), stream.name, stream.unscored_reasons)
    options = outgoing_options(settings, lambda kind: metrics.kafka_errors.labels(kind).inc())
    warm_up(stream, model)
    board = Board(client, settings.board.name or stream.name, settings.board.kept, settings.board.days)
    decoder = decoder_of(settings, stream, make=RekeyedDecoder if settings.rekey else Decoder)
    watch = watch_of(settings, metrics.registry, lambda name: provide(options, name))
    worker = make(
        stream,
        model,
        board,
        Outgoing(options),
        metrics,
        decoder,
        checkpoint_seconds=settings.checkpoint.seconds,
        lost_offsets=settings.kafka.lost_offsets,
        watchdog=Watchdog(settings.watchdog.seconds),
        probe=prober(settings),
        watch=watch,
        box=topics.name if isinstance(topics, Nightly) and not settings.rekey else "",
    )
    health = Health(lambda: metrics.registry.get_sample_value("skim_paused") == 1)
    worker.heartbeat = Heartbeat(settings.heartbeat.seconds)
    began(worker)
    notifier = notifier_of(client, board.stream, watch)
    server, _ = serve(metrics.registry, settings.metrics.host, settings.metrics.port)
    server.set_app(health.beside(make_wsgi_app(metrics.registry)))
    try:
        incoming = kafka_options(settings, lambda kind: metrics.kafka_errors.labels(kind).inc())
        group: dict[str, Any] = {**incoming, **group_options(settings)}
        start: Place = place_of(settings.kafka.start)
        keyed = decoder.framing in ("auto", "key")
        with ExitStack() as stack:
            if settings.rekey:
                stopping = stack.enter_context(beside(rekey_of(settings, stream), stopping))
                # What the stage has copied is to be read, whenever it began; aborted copies are not.
                topics, start, group["isolation.level"] = Single(rekeyed(topics.name)), "earliest", "read_committed"
            heard = Nights(client, board.stream, settings.topics).begun
            if settings.kafka.until:
                end = until_of(settings.kafka.until)
                source: Source = Bounded(topics, group, start, worker.dropped, keyed, end, heard)
            else:
                source = Source(topics, group, start, worker.dropped, keyed, heard)
            stack.enter_context(source)
            health.source = source
            ready(server.server_port, source.problem())
            provide(options, topics.name + SUFFIX)
            stack.enter_context(notifier)
            stack.enter_context(worker.heartbeat)
            log.info("running", extra={"stream": stream.name, "topic": topics.name, "model": model.id})
            over = health.watching(lambda: source.through or stopping())
            worker.run(source, over, settings.batch.size, settings.batch.seconds, settings.batch_most)
    except redis.RedisError as error:
        raise RedisUnavailable(str(error)) from error
    finally:
        server.shutdown()
        server.server_close()
        client.close()
    return Report(worker.tally, server.server_port, tuple(sorted(worker.unsaved)))
