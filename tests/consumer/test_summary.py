"""The nightly summary: what it says, and when it is said: once, when a night is over and quiet."""

import json
from typing import Any

import numpy as np
import redis

from skimstream.consumer.board import Board, Row
from skimstream.consumer.checkpoint import Checkpoints
from skimstream.consumer.distribution import counts_of, median, read_counts
from skimstream.consumer.outbox import Outbox
from skimstream.consumer.streams.base import EPOCH, SECONDS_A_DAY, night_name
from skimstream.consumer.summary import LOOK_SECONDS, Summaries, summary_of
from skimstream.consumer.summary_settings import SummarySettings

NIGHT = 20_778  # 2026-11-21
NOON_AFTER = (NIGHT + 1.5) * SECONDS_A_DAY
assert EPOCH.isoformat() == "1970-01-01"


def scored(store: redis.Redis, night: int, objects: dict[str, float], frozen: list[float]) -> None:
    """One more batch of a night."""
    fence = Checkpoints(store, "s").begin("t/0", 0).fence
    rows = []
    for n, (name, score) in enumerate(objects.items()):
        details = {"event": str(n), "combined": score * 5, "reasons": [{"words": f"odd {n}"}]}
        rows.append(Row(night, name, score, str(n), json.dumps(details)))
    counts = counts_of(np.full(len(frozen), night), np.array(frozen))
    assert Board(store, "s").commit("t/0", fence, fence.offset + 1, rows, counts).applied


def test_counts_of_all_partitions_add_up_and_a_night_has_its_own(store: redis.Redis) -> None:
    scored(store, NIGHT, {}, [0.411, 0.412, 0.5])
    scored(store, NIGHT, {}, [0.41, -0.2])
    scored(store, NIGHT + 1, {}, [0.9])
    assert read_counts(store, "s", "2026-11-21") == {-0.2: 1, 0.41: 3, 0.5: 1}
    assert median(read_counts(store, "s", "2026-11-21")) == 0.41
    assert median({}) is None
    assert counts_of(np.array([1, 1]), np.array([np.nan, 1e9])) == {1: {10_000: 1}}


def test_it_names_the_most_anomalous_and_how_often_they_were(store: redis.Redis) -> None:
    scored(store, NIGHT - 89, {"a": 0.9, "b": 0.8, "c": 0.7}, [0.5])
    scored(store, NIGHT - 90, {"a": 0.9}, [0.5])  # too long ago
    scored(store, NIGHT, {"c": 0.95, "a": 0.99, "d": 0.5}, [0.4, 0.6, 0.6])
    scored(store, NIGHT + 1, {"a": 0.9}, [0.5])  # later
    found = summary_of(store, "s", night_name(NIGHT), objects=2)
    assert (found["scored"], found["median"]) == (3, 0.6)
    assert [(row["object"], row["nights"]) for row in found["objects"]] == [("a", 2), ("c", 1)]
    assert found["objects"][0]["reasons"] == ["odd 1"]


class Evening:
    """Summaries with a clock that a test turns."""

    def __init__(self, store: redis.Redis, quiet: float = 100.0) -> None:
        self.now = 0.0
        self.store = store
        self.settings = SummarySettings(channels=("a",), quiet=quiet)
        self.summaries = Summaries(store, "s", lambda: self.settings, lambda: self.now)

    def look(self, now: float) -> list[str]:
        """What has been told up to now."""
        self.now = now
        self.summaries.look()
        entries: Any = Outbox(self.store, "s").after(0, 1)
        return [entry.record["id"] for entry in entries]


def test_a_night_is_summed_up_once_when_it_is_over_and_quiet(store: redis.Redis) -> None:
    evening, told = Evening(store), ["summary/s/2026-11-21"]
    evening.look(NOON_AFTER - 9_000)  # the first look begins
    scored(store, NIGHT, {"a": 0.9}, [0.5])
    assert evening.look(NOON_AFTER - 100) == []  # not over
    assert evening.look(NOON_AFTER + 1) == []
    assert evening.look(NOON_AFTER + 95) == []  # not quiet for long enough
    scored(store, NIGHT, {"b": 0.9}, [0.5])
    assert evening.look(NOON_AFTER + 110) == []
    assert evening.look(NOON_AFTER + 200) == []
    assert evening.look(NOON_AFTER + 211) == told
    scored(store, NIGHT, {"b": 0.95}, [0.5])  # late ones change nothing any more
    assert evening.look(NOON_AFTER + 900) == told
    evening.summaries.publish("2026-11-21", 10)  # who looked at the same time
    assert evening.look(NOON_AFTER + 950) == told
    other = Evening(store)
    assert other.look(NOON_AFTER + 1_900) == told  # another worker takes over


def test_whoever_turns_it_on_hears_of_no_night_before(store: redis.Redis) -> None:
    scored(store, NIGHT - 1, {"a": 0.9}, [0.5])
    scored(store, NIGHT, {"a": 0.9}, [0.5])
    evening = Evening(store, quiet=0)
    for step in range(5):
        told = evening.look(NOON_AFTER - 900 + step * (LOOK_SECONDS + 1))
    assert told == []
    for step in range(3):
        told = evening.look(NOON_AFTER + 1 + step * (LOOK_SECONDS + 1))
    assert told == ["summary/s/2026-11-21"]
    evening.settings = SummarySettings()
    scored(store, NIGHT + 1, {"a": 0.9}, [0.5])
    assert evening.look(NOON_AFTER + 9 * SECONDS_A_DAY) == told  # nobody wants it
