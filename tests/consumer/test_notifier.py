"""Telling people: order, patience, digests, what is dropped, who takes over; on a real Valkey."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from skimstream.consumer import teller
from skimstream.consumer.board import key
from skimstream.consumer.channel import Channel, ChannelError, ChannelSettings, Message, NotSent
from skimstream.consumer.monitor_metrics import MonitorMetrics
from skimstream.consumer.notifier import Notifier
from skimstream.consumer.outbox import Outbox
from skimstream.consumer.rule import Rule
from skimstream.consumer.rulebook import Book
from skimstream.consumer.summary_settings import SummarySettings
from stage.alerts import leave


@dataclass
class Wire:
    """A channel that notes what it was given, and fails as it is told to."""

    failures: list[Exception] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)

    def send(self, message: Message) -> None:
        self.times.append(time.monotonic())
        while self.held.is_set():
            time.sleep(0.01)
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(message)

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.sent]


class Stage:
    """A notifier of the board `s` with wires for channels."""

    def __init__(self, store: redis.Redis, *rules: Rule, channels: str = "a") -> None:
        self.store = store
        self.wires = {name: Wire() for name in channels}
        settings = {name: ChannelSettings(url=SecretStr(f"http://{name}")) for name in channels}
        self.book = Book(rules or (Rule(name="r", min_score=0.5, channels=tuple(channels)),), settings)
        self.registry = CollectorRegistry()
        self.metrics = MonitorMetrics(self.registry, "behaviour")
        self.made = 0

    def make(self, name: str, settings: ChannelSettings) -> Channel:
        self.made += 1
        return self.wires[name]

    @contextmanager
    def at_work(self) -> Iterator[Notifier]:
        with Notifier(Outbox(self.store, "s"), lambda: self.book, self.metrics, self.make) as notifier:
            until(notifier.ours.is_set)
            yield notifier

    def count(self, outcome: str, channel: str = "a") -> float:
        labels = {"channel": channel, "outcome": outcome}
        return self.registry.get_sample_value("skim_notifications_total", labels) or 0.0

    @property
    def done(self) -> int:
        return int(str(self.store.hget(key("s", "told"), "a").decode()))  # type: ignore[union-attr]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(teller, "OUTAGE_SECONDS", 0.02)


def test_each_is_told_once_in_order_and_a_slow_channel_holds_no_other(store: redis.Redis) -> None:
    stage = Stage(store, channels="ab")
    stage.wires["b"].held.set()
    with stage.at_work():
        leave(store, 3)
        leave(store, 2)
        until(lambda: len(stage.wires["a"].sent) == 5)
        assert stage.wires["b"].sent == []
        assert stage.registry.get_sample_value("skim_notifications_waiting", {"channel": "b"}) is not None
        stage.wires["b"].held.clear()
        until(lambda: len(stage.wires["b"].sent) == 5)
    for wire in stage.wires.values():
        assert wire.ids == [f"t/0/{n}" for n in range(5)]
    assert (stage.count("sent", "a"), stage.count("sent", "b"), stage.done) == (5, 5, 5)


def test_what_passes_is_tried_again_and_what_stays_is_dropped(store: redis.Redis) -> None:
    stage = Stage(store)
    wire = stage.wires["a"]
    wire.failures += [NotSent("status 429", again=True, after=0.6), NotSent("status 503", again=True)]
    with stage.at_work():
        leave(store, 1)
        until(lambda: wire.ids == ["t/0/0"])
        assert wire.times[1] - wire.times[0] >= 0.6  # what Retry-After asks for
        wire.failures += [NotSent("status 404", again=False)]
        leave(store, 2)
        until(lambda: wire.ids == ["t/0/0", "t/0/2"])
        assert stage.made == 4  # after each failure anew: its secret may have been changed
        wire.failures += [NotSent("away", again=True) for _ in range(teller.TRIES)]
        stage.metrics.notifications.labels("a", "retried").inc(0)
        leave(store, 2)
        until(lambda: wire.ids[-1] == "t/0/4")
    assert wire.ids == ["t/0/0", "t/0/2", "t/0/4"]
    assert stage.count("dropped") == 2
    assert stage.count("retried") == 2 + teller.TRIES - 1


def test_what_the_outbox_could_not_keep_is_counted(store: redis.Redis) -> None:
    stage = Stage(store)
    wire = stage.wires["a"]
    with stage.at_work():
        wire.held.set()
        leave(store, 1)
        until(lambda: bool(wire.times))
        leave(store, 5_010)
        wire.held.clear()
        until(lambda: stage.count("sent") + stage.count("dropped") == 5_011, 60)
    assert stage.count("dropped") == 10
    assert len(set(wire.ids)) == len(wire.ids) == 5_001


def test_a_cooldown_and_enough_for_a_night_hold_alerts(store: redis.Redis) -> None:
    stage = Stage(store, Rule(name="r", alerts_per_night=4, cooldown=60, channels=("a",)))
    with stage.at_work():
        leave(store, 7)
        until(lambda: stage.count("held") == 4)
    assert stage.wires["a"].ids == ["t/0/0", "t/0/1", "t/0/2"]  # three objects, each once


def test_a_digest_is_one_message_and_nothing_of_it_is_done_before(store: redis.Redis) -> None:
    rules = (
        Rule(name="r", min_score=0.5, digest=0.7, channels=("a",)),
        Rule(name="prompt", min_score=0.5, channels=("a",)),
    )
    stage = Stage(store, *rules)
    wire = stage.wires["a"]
    with stage.at_work():
        leave(store, 2)
        leave(store, 1, rules=["prompt"])
        leave(store, 2, rules=["r", "prompt"])  # told at once
        until(lambda: len(wire.sent) == 3)
        assert stage.done == 0
        until(lambda: len(wire.sent) == 4)
        until(lambda: stage.done == 5)
    assert wire.ids == ["t/0/2", "t/0/3", "t/0/4", "digest/t/0/0"]
    assert [one["id"] for one in wire.sent[-1].payload["alerts"]] == ["t/0/1", "t/0/0"]


def test_after_an_end_another_goes_on_and_what_was_not_noted_comes_again(store: redis.Redis) -> None:
    first, second = Stage(store), Stage(store)
    with first.at_work():
        leave(store, 2)
        until(lambda: first.done == 2)
    first.wires["a"].failures += [NotSent("away", again=True)] * 8
    with first.at_work():
        leave(store, 2)
        until(lambda: first.count("retried") == 1)
    assert first.done == 2
    store.hset(key("s", "told"), "a", "1")  # as if it had died right after sending the second
    with second.at_work():
        until(lambda: len(second.wires["a"].sent) == 3)
    assert second.wires["a"].ids == ["t/0/1", "t/0/2", "t/0/3"]


def test_two_tell_nothing_twice(store: redis.Redis) -> None:
    first, second = Stage(store), Stage(store)
    with first.at_work(), Notifier(Outbox(store, "s"), lambda: second.book, second.metrics, second.make) as other:
        leave(store, 20)
        until(lambda: len(first.wires["a"].sent) == 20)
        assert not other.ours.is_set()
    assert second.wires["a"].sent == []


def test_when_redis_goes_back_in_time_so_do_the_channels(store: redis.Redis) -> None:
    stage = Stage(store)
    with stage.at_work():
        leave(store, 3)
        until(lambda: stage.done == 3)
        kept = {name: store.dump(name) for name in store.scan_iter()}
        leave(store, 2)
        until(lambda: stage.done == 5)
        with store.pipeline() as back:
            back.flushall()
            for name, value in kept.items():
                back.restore(name, 0, value)  # type: ignore[arg-type]
            back.execute()
        time.sleep(0.4)
        leave(store, 2)
        until(lambda: stage.done == 5)
    assert stage.wires["a"].ids == [f"t/0/{n}" for n in (0, 1, 2, 3, 4, 3, 4)]


def test_a_channel_that_comes_hears_what_comes_then_and_one_without_rules_nothing(store: redis.Redis) -> None:
    stage = Stage(store, channels="ab")
    both = stage.book
    stage.book = Book(both.rules, {"a": both.channels["a"]})
    with stage.at_work():
        leave(store, 2)
        until(lambda: stage.done == 2)
        stage.book = Book((Rule(name="r", min_score=0.5, channels=("b",)),), both.channels)
        until(lambda: store.hexists(key("s", "told"), "b"))
        leave(store, 1)
        until(lambda: len(stage.wires["b"].sent) == 1)
        until(lambda: stage.done == 3)
    assert (stage.wires["a"].ids, stage.wires["b"].ids) == (["t/0/0", "t/0/1"], ["t/0/2"])


def test_a_summary_goes_to_its_channels_alone(store: redis.Redis) -> None:
    stage = Stage(store, channels="ab")
    stage.book = Book(stage.book.rules, stage.book.channels, SummarySettings(channels=("b",)))
    night: dict[str, Any] = {"night": "2026-11-21", "scored": 5, "median": 0.4, "objects": []}
    with stage.at_work():
        leave(store, 1, kind="summary", **night)
        leave(store, 1)
        until(lambda: len(stage.wires["a"].sent) == 1 and len(stage.wires["b"].sent) == 2)
    assert (stage.wires["a"].ids, stage.wires["b"].ids) == (["t/0/1"], ["t/0/0", "t/0/1"])
    assert stage.wires["b"].sent[0].title == "behaviour: the night of 2026-11-21"


def test_a_channel_that_cannot_be_made_is_tried_again(store: redis.Redis) -> None:
    stage = Stage(store)
    problems: list[Exception] = [ChannelError("a", "its file can't be read"), ValueError("a fault of ours")]
    make = stage.make

    def failing(name: str, settings: ChannelSettings) -> Channel:
        if problems:
            raise problems.pop(0)
        return make(name, settings)

    stage.make = failing  # type: ignore[method-assign]
    with stage.at_work():
        leave(store, 1)
        until(lambda: stage.wires["a"].ids == ["t/0/0"])
    assert stage.count("retried") == 2
