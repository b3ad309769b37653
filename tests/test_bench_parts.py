"""Parts of the benchmark, tiny: that they measure what they say, not how fast it is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import redis

from brokers.mock import MockCluster
from brokers.redis import RedisServer
from skimstream.consumer.streams.registry import stream_of
from skimstream.schemas.decode import Decoder
from whole.arena import Arena, workload
from whole.hand import Hand
from whole.history import alerts
from whole.keys import BATCH, DIGITS, Crowd
from whole.page import TABLES, tables
from whole.scaling import WORKERS, scaling

ROOT = Path(__file__).resolve().parents[1]


def test_a_crowd_is_of_as_many_users_as_asked_for(store: redis.Redis) -> None:
    crowd = Crowd(store)
    named = crowd.of(np.array([7, 0, 1_234_567_890])).text("user_id")
    assert [named.at(row) for row in range(3)] == ["0000000007", "0000000000", "1234567890"]
    crowd.take(np.arange(2 * BATCH + 5))
    crowd.take(np.arange(10))  # known already
    entities = crowd.partition.state.entities
    assert entities is not None
    assert (entities.keys.tracked, entities.events) == (2 * BATCH + 5, 2 * BATCH + 15)
    assert len(str(10**DIGITS)) == DIGITS + 1


def test_what_a_process_tells_of_many_users(store_url: str) -> None:
    command = [sys.executable, "-m", "whole.keys", "1000", store_url]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["in_memory"] == 2 * BATCH + 1_000  # those that warm it up, too
    assert told.keys() == set(TABLES["Memory by users"][1]) - {""}


@pytest.mark.parametrize("length", [10, 300])
def test_alerts_have_light_curves_as_long_as_asked_for(length: int) -> None:
    messages, stream, hand = alerts(length), stream_of("ztf"), Hand.reading("ztf")
    columns = Decoder(stream.wanted, stream.framing, stream.schema()).decode(list(messages)).columns
    assert set(np.diff(columns.table("prv_candidates")[0]).tolist()) == {length}
    assert {sum(map(len, hand.curves(hand.decode(one)).values())) for one in messages[:5]} == {length + 1}
    found = stream.open().features(columns)
    assert len(found.rows) > len(messages) / 2


def test_parts_have_tables_of_their_own() -> None:
    last = json.loads((ROOT / "docs" / "benchmarks" / "latest.json").read_text())
    last["scaling"] = {"4": {"events_per_second": 40_000, "cpu_us": 50.0, "times_one": 1.5}}
    last["history"] = {"3000": {"ours_us": 2_783.4, "hand_us": 92_533.4, "ratio": 33.2}}
    last["keys"] = {}
    found = tables(last)
    assert "| 4 | 40,000 | 1.5 | 50 |" in found
    assert "| 3,000 | 2,783 | 92,533 | 33.2 |" in found
    assert "### Memory by users" not in found


@pytest.mark.nightly
def test_workers_that_share_a_topic_take_all_of_it() -> None:
    with MockCluster() as cluster, RedisServer() as store:
        arena = Arena("mock", cluster, store)
        found = scaling(arena, "behaviour", workload("behaviour", 2_000)[0], quick=True)
    assert list(found) == [str(count) for count in WORKERS]
