"""Alerts across crashes: people's are left exactly once, the topic's at least once, both under the same ids."""

import itertools
import json
from typing import Any

import pytest
import redis

from skimstream.consumer.board import key
from skimstream.consumer.rule import Rule
from skimstream.consumer.rulebook import Book, Rulebook
from skimstream.consumer.watch import Watch
from stage.listed import Listed, Recorder, Topic, learned, recorder, sessions

RULES = (
    Rule(name="fixed", min_score=0.98, channels=("a",)),
    Rule(name="rate", false_alarm_rate=0.01, channels=("a",)),
    Rule(name="nightly", alerts_per_night=20),
)
MESSAGES = sessions(1_200)


class Killed(BaseException):
    """As kill -9 does, it asks nobody."""


def worker_of(store: redis.Redis, name: str) -> Recorder:
    watch = Watch(Rulebook(Book(RULES), "behaviour"), "skim.behaviour.anomalies")
    # A checkpoint after some batches, so that a crash has something to learn again.
    ticks = itertools.count(step=0.25)
    return recorder(store, name, kept=50, watch=watch, clock=lambda: next(ticks), checkpoint_seconds=3.0)


def run(worker: Recorder, topic: Topic) -> list[str]:
    """Read to the end, or to the worker's death; the ids that the topic of anomalies was given."""
    source = Listed(topic, itertools.cycle([60, 7, 100]))
    try:
        worker.run(source, lambda: source.done)
    except Killed:
        pass
    return [one.alert.id for one in worker.letters.announced]  # type: ignore[attr-defined]


def left(store: redis.Redis, name: str) -> list[str]:
    entries: Any = store.xrange(key(name, "alerts"))
    return [json.loads(fields[b"alert"])["id"] for _, fields in entries]


@pytest.mark.parametrize("point", ["prepared", "learned", "buried", "committed", "saved"])
def test_a_crash_at_any_point_changes_no_alert(store: redis.Redis, point: str) -> None:
    topic = Topic({0: list(MESSAGES)})
    expected = run(worker_of(store, "calm"), topic)
    assert len(expected) == len(set(expected)) > 20
    found: list[str] = []
    for life in range(8):
        worker, count = worker_of(store, "crashing"), itertools.count()

        def reached(here: str, count: "itertools.count[int]" = count, after: int = 2 + life % 3) -> None:
            if here == point and next(count) == after:
                raise Killed

        worker.reached = reached
        found += run(worker, topic)
    found += run(worker_of(store, "crashing"), topic)
    assert left(store, "crashing") == left(store, "calm")
    assert list(dict.fromkeys(found)) == expected  # some twice, in the same order otherwise
    if point == "buried":
        assert len(found) > len(expected)
    assert without_time(store, "crashing") == without_time(store, "calm")


def without_time(store: redis.Redis, name: str) -> object:
    """All but checkpoints, which were written at other offsets."""
    return {one: value for one, value in learned(store, name).items() if one.startswith(("top", "offsets", "scores"))}
