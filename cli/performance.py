"""The demo's stage: starts the servers, the workers and the senders, shows the board, adds up what was found."""

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import typer

from ..consumer.board import key, read_nights, read_offsets, read_top
from ..consumer.config import load_settings
from ..consumer.letter import SUFFIX
from ..consumer.run import connect
from ..schemas.errors import SkimError
from .embedded import Backlog, embedded_broker, embedded_store
from .page import Page
from .signals import stop_flag
from .simulate import TRUTH, encoder, simulated
from .view import Show, Standing, summary

STREAMS = ("ztf", "behaviour")
# A broken message now and then, so that dead letters can be seen to work.
BROKEN_EVERY = 500
BROKEN = b"this is no Avro"
# Starting compiles the kernels the first time ever: 20-30 s on two cores, then they come from the cache.
START_SECONDS = 120.0
SERVER_SECONDS = 30.0
# As many as the mock cluster gives a topic.
PARTITIONS = 4
# After the last event: how long the workers may take to catch up, and then to stop.
DRAIN_SECONDS, STOP_SECONDS = 30.0, 15.0
TICK = 0.5
# The mock cluster answers a fetch that found nothing only when this has passed, even if messages come; by default 500.
EMBEDDED = '"fetch.wait.max.ms" = 20'
# 60,000 sessions a simulated day: a minute of demo at 400 a second is an evening, and every user comes back often.
USERS = 2_000
SHOWN, SEARCHED = 10, 100


class DemoError(SkimError):
    """The demo can't go on; what a worker said last is in `said`."""

    def __init__(self, problem: str, said: str = "") -> None:
        super().__init__(problem + (f"; it said:\n{said}" if said else ""))
        self.problem = problem
        self.said = said


@dataclass(frozen=True)
class Plan:
    """What to show: for how many seconds (None = until Ctrl-C), on which servers (None = embedded), how fast.

    `page_port`: where the page listens; 0 = a free port.
    """

    seconds: float | None
    kafka: str | None
    redis: str | None
    rates: Mapping[str, float | None]
    anomalies: float
    seed: int
    page_port: int = 0


@dataclass
class Sent:
    """What a sender has sent so far; `injected`: event id → its object and the anomaly that it is."""

    events: int = 0
    broken: int = 0
    injected: dict[str, tuple[str, str]] = field(default_factory=dict)
    failure: BaseException | None = None


def perform(plan: Plan) -> None:
    """Run the demo from start to summary. Raises `SkimError` if a part of it fails."""
    stopping = stop_flag(unwind=True)
    run = f"{int(time.time())}"
    topics = {stream: f"skim-demo-{stream}-{run}" for stream in STREAMS}
    with ExitStack() as stack:
        kafka = plan.kafka or stack.enter_context(embedded_broker())
        url = plan.redis or stack.enter_context(embedded_store())
        board = connect(load_settings(None, {"redis": {"url": url}}), retries=1)
        stack.callback(board.close)
        _clear(board)
        _create_topics(kafka, topics, embedded=plan.kafka is None)
        typer.echo(
            f"skim demo: Kafka at {kafka}{'' if plan.kafka else ' (embedded)'}, "
            f"Redis at {_without_password(url)}{'' if plan.redis else ' (embedded)'}",
            err=True,
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skim-demo-")))
        options = "" if plan.kafka else EMBEDDED
        workers = {stream: Worker(stream, topics[stream], kafka, url, folder, options) for stream in STREAMS}
        page = Page(url, plan.page_port, folder)
        for kill in (page.kill, *(worker.kill for worker in workers.values())):
            stack.callback(kill)
        typer.echo(f"the page: {page.address()}/?stream={board_name(STREAMS[0])}", err=True)

        def read(topic: str) -> int | None:
            streams = [stream for stream in STREAMS if topic == topics[stream]]
            return _read(board, streams[0], topic) if streams else None  # nobody here reads the side topics

        typer.echo("starting the workers (the very first start compiles the kernels: up to half a minute) …", err=True)
        _await_start(board, topics, workers, stopping)
        typer.echo(f"metrics: {', '.join(worker.metrics() for worker in workers.values())}", err=True)
        sent = {stream: Sent() for stream in STREAMS}
        sending = threading.Event()  # set = stop sending
        threads = [
            threading.Thread(
                target=_send,
                args=(plan, stream, topics[stream], kafka, Backlog(read), sent[stream], sending),
                daemon=True,  # a second Ctrl-C does not wait for them
            )
            for stream in STREAMS
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        stack.callback(sending.set)
        with Show() as show:
            while not stopping.is_set() and (plan.seconds is None or time.monotonic() - began < plan.seconds):
                _check(workers, sent)
                show.update({s: _standing(board, s, topics[s], sent[s]) for s in STREAMS}, time.monotonic() - began)
                stopping.wait(TICK)
            sending.set()
            for thread in threads:
                thread.join(STOP_SECONDS)
            _check_senders(sent)
            elapsed = time.monotonic() - began
            _drain(board, topics, sent, workers)
            standings = {s: _standing(board, s, topics[s], sent[s]) for s in STREAMS}
            show.update(standings, elapsed)
        tallies = {stream: worker.stop() for stream, worker in workers.items()}
    figures = _figures(standings, sent, tallies, elapsed)
    typer.echo(summary(figures))
    typer.echo(json.dumps(figures))


class Worker:
    """A `skim run` of its own process, as a user would start it. `options`: librdkafka's, as TOML."""

    def __init__(self, stream: str, topic: str, kafka: str, url: str, folder: Path, options: str) -> None:
        settings = folder / f"{stream}.toml"
        settings.write_text(
            f"stream = {json.dumps(stream)}\ntopic = {json.dumps(topic)}\n"
            f"[kafka]\nbootstrap = {json.dumps(kafka)}\ngroup = {json.dumps('skim-demo-' + topic)}\n"
            f"options = {{ {options} }}\n"
            f"[redis]\nurl = {json.dumps(url)}\n[board]\nname = {json.dumps(board_name(stream))}\n"
            "[metrics]\nport = 0\n"
        )
        self.stream = stream
        self.log = folder / f"{stream}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "skimstream.cli.main", "run", "--config", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def said(self) -> str:
        """Its last lines on standard error."""
        return self.log.read_text(errors="replace")[-2000:]

    def metrics(self) -> str:
        """Where its metrics are, once it runs."""
        port = re.search(r"metrics on port (\d+)", self.log.read_text(errors="replace"))
        return f"http://127.0.0.1:{port[1]}/metrics" if port else "not served"

    def stop(self) -> dict[str, Any]:
        """Ask it to finish; what it printed last: the tally of its messages."""
        self.process.terminate()
        try:
            out, _ = self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"the worker of {self.stream} does not stop", self.said()) from error
        if self.process.returncode:
            raise DemoError(f"the worker of {self.stream} failed", self.said())
        tally: dict[str, Any] = json.loads(out.splitlines()[-1])
        return tally

    def kill(self) -> None:
        """Whatever happened before: it is gone afterwards."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def board_name(stream: str) -> str:
    """The demo's own keys, so that it never mixes with a real board on the same Redis."""
    return f"demo-{stream}"


def _clear(board: redis.Redis) -> None:
    try:
        for stream in STREAMS:
            stale = list(board.scan_iter(match=key(board_name(stream), "*").replace("[", "\\["), count=1_000))
            if stale:
                board.delete(*stale)
    except redis.RedisError as error:
        raise DemoError(f"Redis does not answer: {error}; see --redis") from error


def _create_topics(kafka: str, topics: Mapping[str, str], embedded: bool) -> None:
    """Before anybody subscribes: a consumer may hear of a topic that comes later only minutes later."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": kafka})
    names = [name + suffix for name in topics.values() for suffix in ("", TRUTH, SUFFIX)]
    try:
        if embedded:
            for name in names:
                admin.list_topics(name, timeout=SERVER_SECONDS)  # the mock makes what is asked for
            return
        for future in admin.create_topics([NewTopic(name, PARTITIONS) for name in names]).values():
            future.result(timeout=SERVER_SECONDS)
    except (KafkaException, TimeoutError) as error:
        problem = str(error) or f"no answer within {SERVER_SECONDS:g} s"
        raise DemoError(f"the topics can't be created on {kafka}: {problem}; see --kafka") from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _read(board: redis.Redis, stream: str, topic: str) -> int:
    offsets = read_offsets(board, board_name(stream))
    return sum(offset for name, offset in offsets.items() if name.rpartition("/")[0] == topic)


def _await_start(
    board: redis.Redis, topics: Mapping[str, str], workers: Mapping[str, Worker], stopping: threading.Event
) -> None:
    """Until every partition has been assigned: a worker then sets its first offset on the board."""
    deadline = time.monotonic() + START_SECONDS
    while any(len(read_offsets(board, board_name(stream))) < PARTITIONS for stream in topics):
        for worker in workers.values():
            if worker.process.poll() is not None:
                raise DemoError(f"the worker of {worker.stream} did not start", worker.said())
        if stopping.is_set():
            raise typer.Exit(1)
        if time.monotonic() > deadline:
            raise DemoError(f"the workers did not start within {START_SECONDS:g} s")
        time.sleep(0.1)


def _send(plan: Plan, stream: str, topic: str, kafka: str, backlog: Backlog, sent: Sent, stop: threading.Event) -> None:
    """Send simulated events until told to stop. Runs in a thread; a failure is kept for the main one."""
    try:
        from ..producer.pace import Pace
        from ..producer.send import Sender
        from ..producer.simulate.event import truth_message

        tonight = datetime.now(UTC).date().isoformat()
        events, schema = simulated(stream, plan.seed, tonight, None, plan.anomalies, USERS)
        encode, pace = encoder(stream), Pace(plan.rates[stream])
        with Sender({"bootstrap.servers": kafka}, pace=backlog) as sender:
            for event in events:
                pace.wait()
                if stop.is_set():
                    break
                sender.send(topic, encode(event, schema), key=event.key)
                sent.events += 1
                if event.truth is not None:
                    sent.injected[event.event_id] = (event.key, event.truth)
                    sender.send(topic + TRUTH, truth_message(event), key=event.key)
                if sent.events % BROKEN_EVERY == 0:
                    sender.send(topic, BROKEN)
                    sent.broken += 1
        sender.check()
    except Exception as error:  # handed to the main thread, which raises it
        sent.failure = error


def _check(workers: Mapping[str, Worker], sent: Mapping[str, Sent]) -> None:
    for stream, worker in workers.items():
        if worker.process.poll() is not None:
            raise DemoError(f"the worker of {stream} stopped by itself", worker.said())
    _check_senders(sent)


def _check_senders(sent: Mapping[str, Sent]) -> None:
    for stream, one in sent.items():
        if one.failure is not None:
            raise DemoError(f"events of {stream} can't be sent: {one.failure}") from one.failure


def _drain(
    board: redis.Redis, topics: Mapping[str, str], sent: Mapping[str, Sent], workers: Mapping[str, Worker]
) -> None:
    """Until all that was sent has been read, or a terminal's Ctrl-C has stopped the workers too."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and all(worker.process.poll() is None for worker in workers.values()):
        if all(_read(board, s, topics[s]) >= sent[s].events + sent[s].broken for s in STREAMS):
            return
        time.sleep(0.1)


def _standing(board: redis.Redis, stream: str, topic: str, sent: Sent) -> Standing:
    nights = read_nights(board, board_name(stream))
    lists = [read_top(board, board_name(stream), night, SEARCHED) for night in nights]
    injected = dict(sent.injected)
    shown = [entry for entries in lists for entry in entries[:SHOWN]]
    return Standing(
        night=nights[0] if nights else "",
        sent=sent.events + sent.broken,
        read=_read(board, stream, topic),
        top=lists[0][:SHOWN] if lists else [],
        injected=injected,
        objects=len({thing for thing, _ in injected.values()}),
        found=len({entry["object"] for entries in lists for entry in entries if entry["event"] in injected}),
        shown=len(shown),
        precise=sum(entry["event"] in injected for entry in shown),
    )


def _figures(
    standings: Mapping[str, Standing],
    sent: Mapping[str, Sent],
    tallies: Mapping[str, Mapping[str, Any]],
    elapsed: float,
) -> dict[str, Any]:
    """The figures of the summary, the last line of the demo."""
    streams = {
        stream: {
            "night": standing.night,
            "events": sent[stream].events,
            "broken_sent": sent[stream].broken,
            **{name: tallies[stream][name] for name in ("consumed", "scored", "unscored", "dead")},
            "injected_events": len(standing.injected),
            "injected_objects": standing.objects,
            f"found_in_top_{SEARCHED}": standing.found,
            f"precision_at_{SHOWN}": round(standing.precise / max(1, standing.shown), 3),
        }
        for stream, standing in standings.items()
    }
    return {
        "seconds": round(elapsed, 1),
        "events": sum(one.events for one in sent.values()),
        "injected_objects": sum(one.objects for one in standings.values()),
        "found": sum(one.found for one in standings.values()),
        "dead_letters": sum(sum(tally["dead"].values()) for tally in tallies.values()),
        "streams": streams,
    }
