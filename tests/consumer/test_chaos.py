"""Workers killed, frozen and replaced on a real Kafka and a real Redis: nothing is lost, nothing counts twice.

After each play Redis must hold, bit for bit, what an undisturbed run over the same records leaves there: boards,
offsets, entities and models; and every event must have been emitted with the score that it has in that run. The long
plays (`make chaos`) are the same with larger numbers.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from brokers.kafka import Kafka
from brokers.proxy import FaultProxy
from brokers.redis import RedisServer
from skimstream.cli.main import app
from skimstream.consumer.address import Address
from skimstream.producer.schema import load
from stage.fleet import wait_for
from stage.listed import Listed, Topic, learned, recorder, sessions
from stage.play import PARTITIONS, Play


@pytest.fixture
def server(redis_server: Callable[..., RedisServer]) -> RedisServer:
    return redis_server()


@pytest.fixture
def play(kafka: Kafka, server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Play]]:
    plays: list[Play] = []

    def begin(events: list[bytes], **settings: Any) -> Play:
        plays.append(Play(kafka, server, tmp_path, events, **settings))
        return plays[-1]

    yield begin
    for one in plays:
        one.__exit__()


@pytest.mark.parametrize(
    ("kills", "events"), [(12, 4_000), pytest.param(200, 200_000, marks=pytest.mark.chaos)], ids=["12", "200"]
)
def test_kill_9_at_random_moments_changes_nothing(
    kills: int, events: int, play: Callable[..., Play], figures: dict[str, Any]
) -> None:
    stage, rng = play(sessions(events, users=2_000)), random.Random(kills)
    for _ in range(kills):
        stage.send(events // (kills + 1))
        name = stage.alone()
        if rng.random() < 0.3:
            time.sleep(rng.uniform(0.05, 1.0))  # while it starts, joins or recovers, most likely
        else:
            wait_for(partial(stage.fleet.has_emitted, name), f"it works\n{stage.fleet.log(name)[-3000:]}")
            time.sleep(rng.uniform(0.0, 0.05))
        stage.fleet.kill(name)
    stage.finish()
    busy, emitted, again = stage.fleet.busy(), len(stage.fleet.emitted()), stage.fleet.repeated()
    assert busy > kills / 2, "most were killed before they did anything"
    assert again > 0, "none was killed between a score and its commit"
    figures[f"kills_{kills}"] = {"killed_at_work": busy, "events": emitted, "scored_in_vain": again}


@pytest.mark.chaos
@pytest.mark.parametrize(
    "point", ["opened", "prepared", "learned", "buried", "committed", "saved", "told", "relearned"]
)
def test_kill_9_at_each_point_of_the_commit_order_changes_nothing(
    point: str, play: Callable[..., Play], figures: dict[str, Any]
) -> None:
    stage, rng, deaths = play(sessions(12_000, users=500)), random.Random(point), 0
    for life in range(200):
        if deaths == 20:
            break
        stage.send(50)
        where = "committed" if point == "relearned" and life % 2 == 0 else point
        name = stage.alone(point=where, after=rng.randint(1, 4) if where in ("opened", "relearned") else 2)
        try:
            wait_for(partial(stage.fleet.dead, name), "it dies", 4.0)
        except AssertionError:
            stage.fleet.kill(name)  # there was too little to do
            continue
        deaths += where == point
        del stage.fleet.members[name]
    stage.finish()
    assert deaths == 20
    figures.setdefault("kills_by_point", {})[point] = deaths


@pytest.mark.parametrize("events", [5_000, pytest.param(100_000, marks=pytest.mark.chaos)])
def test_workers_come_and_go_and_a_frozen_one_comes_back_as_a_zombie(events: int, play: Callable[..., Play]) -> None:
    stage = play(sessions(events, users=1_000))
    fleet, share = stage.fleet, events // 16

    def work_on(seconds: float = 0.0) -> None:
        before = stage.applied()
        stage.send(share)
        wait_for(lambda: stage.applied() > before + share // 4, f"work goes on\n{fleet.logs()[-3000:]}")
        time.sleep(seconds)

    first = fleet.start()
    work_on()
    more = [fleet.start() for _ in range(2)]
    work_on(1.0)
    fleet.kill(more[0])  # while the other may still be opening its share
    fleet.kill(more[1])
    work_on(1.0)
    crew = [first, *(fleet.start() for _ in range(3))]
    work_on(1.0)
    for name in crew[1:]:
        fleet.leave(name)

    def frozen() -> bool:
        stage.send(10)
        time.sleep(0.05)
        return fleet.frozen(zombie)

    zombie = fleet.start(point="learned", after=3, sign=signal.SIGSTOP)  # it holds a batch that it has yet to commit
    wait_for(frozen, "it freezes")
    stage.send(share)  # else the others might end with the very batch that it holds, and it find that applied
    wait_for(stage.done, f"the others take over\n{fleet.logs()[-3000:]}")
    fleet.thaw(zombie)
    work_on(1.0)
    assert " stale" in fleet.log(zombie), fleet.log(zombie)
    fleet.kill(first)
    fleet.start()
    work_on()
    stage.finish()


@pytest.mark.parametrize(
    ("deaths", "events"), [(4, 6_000), pytest.param(20, 60_000, marks=pytest.mark.chaos)], ids=["4", "20"]
)
def test_a_redis_killed_with_only_snapshots_goes_back_and_is_made_good(
    deaths: int, events: int, play: Callable[..., Play], server: RedisServer, figures: dict[str, Any]
) -> None:
    stage, rng = play(sessions(events, users=1_000)), random.Random(deaths)
    stage.fleet.start()
    stage.fleet.start()
    rolled_back = 0
    for _ in range(deaths):
        stage.send(events // (deaths + 1) // 2)
        time.sleep(rng.uniform(0.1, 1.0))
        server.snapshot()
        stage.send(events // (deaths + 1) // 2)
        time.sleep(rng.uniform(0.3, 1.5))
        before = stage.applied()
        server.roll_back()
        rolled_back += before > stage.applied()
    stage.finish()
    figures[f"redis_deaths_{deaths}"] = {"rolled_back": rolled_back}
    assert rolled_back >= 1
    assert "stale" in stage.fleet.logs()


@pytest.mark.parametrize("events", [3_000, pytest.param(100_000, marks=pytest.mark.chaos)])
def test_poison_goes_to_the_dead_letters_and_leaves_no_trace_in_the_state(
    events: int, play: Callable[..., Play], kafka: Kafka
) -> None:
    good = sessions(events, users=1_000)
    mixed: list[bytes] = []
    for i, event in enumerate(good):
        mixed += [event, event[: len(event) // 2]] if i % 100 == 50 else [event]
    stage = play(mixed)
    stage.fleet.start()
    stage.finish()
    letters = letters_of(kafka, f"{stage.name}.dlq", events // 100)
    right = set(good)
    poison = {
        (number, offset): value
        for number, values in stage.sent.items()
        for offset, value in enumerate(values)
        if value not in right
    }
    assert letters == poison


Fault = Callable[[RedisServer, FaultProxy], Callable[[], None]]


def _slow(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    proxy.delay(1.5)  # longer than the worker waits for an answer
    return proxy.heal


def _cut(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    proxy.cut()
    return proxy.heal


def _cut_in_reply(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    proxy.cut_after(3)
    return proxy.heal


def _half_open(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    proxy.half_open()
    return proxy.heal


def _full(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    server.fill()
    return server.drain


def _read_only(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    server.read_only()
    return server.writable


def _locked(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    server.set_password("secret")
    return lambda: server.set_password(None)


def _frozen(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    server.pause()
    return server.resume


def _gone(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    server.snapshot()
    server.kill()
    return server.start


BALLAST = 800


def _loading(server: RedisServer, proxy: FaultProxy) -> Callable[[], None]:
    with server.client() as client:
        client.mset({f"ballast:{i}": "x" for i in range(BALLAST)})
    server.snapshot()
    server.kill()
    # It takes four seconds to load (5,000 µs a key) and answers LOADING meanwhile; a worker waits two at most.
    delays = {"key_load_delay": "5000", "loading_process_events_interval_bytes": "1024"}
    server.config |= delays

    def mend() -> None:
        server.start()
        for name in delays:
            del server.config[name]
        with server.client() as client:
            client.delete(*(f"ballast:{i}" for i in range(BALLAST)))

    return mend


FAULTS: dict[str, Fault] = {
    "slow": _slow,
    "cut": _cut,
    "cut in mid-reply": _cut_in_reply,
    "half-open": _half_open,
    "out of memory": _full,
    "read-only": _read_only,
    "locked": _locked,
    "frozen": _frozen,
    "gone": _gone,
    "loading": _loading,
}


def test_redis_in_any_trouble_pauses_the_stream_and_no_more(
    play: Callable[..., Play],
    server: RedisServer,
    fault_proxy: Callable[[str], FaultProxy],
    figures: dict[str, Any],
) -> None:
    proxy = fault_proxy(server.address)
    stage = play(sessions(6_000, users=500), redis={"url": server.url_through(proxy.address), "timeout": 0.5})
    name = stage.fleet.start()
    seconds: dict[str, float] = {}
    for trouble, fault in FAULTS.items():
        stage.send(200)
        wait_for(stage.done, f"it works before {trouble}\n{stage.fleet.log(name)[-3000:]}")
        mend = fault(server, proxy)
        stage.send(200)
        time.sleep(1.5)
        mend()
        began = time.monotonic()
        wait_for(stage.done, f"it goes on after {trouble}\n{stage.fleet.log(name)[-3000:]}")
        seconds[trouble] = round(time.monotonic() - began, 2)
        assert stage.fleet.alive(name)
    figures["redis_recovery_seconds"] = seconds
    stage.finish()
    log = stage.fleet.logs()
    kinds = {line.split(" paused ")[1].split()[0] for line in log.splitlines() if " paused " in line}
    assert kinds == {"timeout", "connection", "out_of_memory", "read_only", "authentication", "loading"}
    assert "secret" not in log


def test_dead_letters_replayed_after_a_fix_end_as_if_they_had_only_come_late(
    play: Callable[..., Play], kafka: Kafka, tmp_path: Path
) -> None:
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    schema = load("behaviour").text
    (schemas / "1.avsc").write_text(schema)
    events = sessions(3_000, users=300)
    early = [framed(1 if i % 50 else 2, event) for i, event in enumerate(events)]  # nobody has heard of schema 2
    stage = play(early, framing="confluent", registry={"folder": str(schemas)})
    first = stage.fleet.start()
    stage.send_all()
    wait_for(stage.done, f"all is read\n{stage.fleet.logs()[-3000:]}")
    stage.fleet.leave(first)

    (schemas / "2.avsc").write_text(schema)
    done = CliRunner().invoke(app, ["dlq", "replay", stage.name, "--yes", "--kafka", kafka.bootstrap])
    assert done.exit_code == 0, done.output
    right: dict[int, list[bytes | None]] = {}
    for number, sent in stage.sent.items():
        framed_ones = [one for one in sent if one is not None]
        late = [one for one in framed_ones if one[4] == 2]
        sent += late
        right[number] = [one[5:] for one in (*(one for one in framed_ones if one[4] == 1), *late)]
    stage.fleet.start()
    wait_for(stage.done, f"the late ones are read\n{stage.fleet.logs()[-3000:]}")
    for name in list(stage.fleet.members):
        stage.fleet.leave(name)

    with stage.server.client() as client:
        worker, source = recorder(client, "reference", kept=1_000), Listed(Topic(right), repeat(500))
        source.topic = stage.name
        worker.run(source, lambda: source.done)
        for number in range(PARTITIONS):
            worker.dropped(Address("t", number), lost=False)
        found, wanted = learned(client, "behaviour"), learned(client, "reference")
    for name, value in wanted.items():
        if name.startswith(("top", "details", "state")):
            assert found[name] == value
        if name.startswith("model"):  # but for its first line, which has the offset
            assert found[name].partition(b"\n")[2] == value.partition(b"\n")[2]


def framed(schema_id: int, record: bytes) -> bytes:
    """A record as Confluent's clients send it."""
    return b"\0" + schema_id.to_bytes(4, "big") + record


def letters_of(kafka: Kafka, topic: str, expected: int) -> dict[tuple[int, int], bytes | None]:
    """Dead letters by the place that they came from."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: dict[tuple[int, int], bytes | None] = {}
    try:
        while len(found) < expected:
            messages = consumer.consume(1_000, 10.0)
            assert messages, f"{len(found)} of {expected} dead letters"
            for message in messages:
                headers: dict[str, Any] = dict(message.headers() or [])
                place = int(headers["partition"]), int(headers["offset"])
                assert place not in found
                found[place] = message.value()
        assert not consumer.consume(1, 0.5)
    finally:
        consumer.close()
    return found
