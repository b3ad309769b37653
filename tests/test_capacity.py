"""The arithmetic of docs/scaling.md."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from capacity import LOADS, MOST_BUSY, Load, between, drain, explained, fullest, need, tables, waiting
from pacing import Costs, delays
from skimstream.consumer.pace import LEAST_SECONDS

ROOT = Path(__file__).resolve().parents[1]
VISITS = Load("visits", "ztf", 40_000, 37.0, 66_000, 0, 0, 37.0)


def measured(whole: float, quick: bool = False) -> dict[str, Any]:
    one = {
        "stages_us": {"decode": 40.0, "commit": 10.0, "fastavro": 1_000.0},
        "stage_ratios": {"decode": 25.0, "commit": 100.0},
        "contenders": {"ours": {"cpu_us": whole}, "bare": {"cpu_us": 50.0}},
    }
    return {"quick": quick, "workloads": {"ztf": one, "behaviour": one}}


def test_a_worker_that_keeps_up_has_one_burst_waiting_and_one_that_does_not_ever_more() -> None:
    assert waiting([1_000] * 4, 37.0, 1_000 / 37.0) == pytest.approx([1_000] * 4)
    assert waiting([1_000] * 4, 37.0, 900 / 37.0) == pytest.approx([1_000, 1_100, 1_200, 1_300])
    assert drain([40_000], 37.0, 2_000.0) == 20.0
    assert drain([10_000, 40_000, 10_000], 37.0, 1_000.0) == 40.0  # the one before was done after 10 s
    assert drain([10_000, 40_000, 40_000], 37.0, 1_000.0) == 43.0  # 3 s behind


def test_the_fullest_worker_has_more_than_its_share_and_not_more_than_all() -> None:
    assert fullest(40_000, 1) == 40_000
    for workers in (2, 10, 100):
        assert 40_000 / workers < fullest(40_000, workers) < 40_000 / workers + 4 * math.sqrt(40_000 / workers)


def test_a_load_gets_the_fewest_workers_that_are_in_time() -> None:
    found = need(VISITS, 0.001, 1e-5)  # 40 s of one core, of which 37 are there and 60 % may be used
    assert found.workers == 2
    assert found.busy == pytest.approx(40 / 37 / 2)
    assert found.drained == pytest.approx(fullest(40_000, 2) * 0.001)
    assert found.partitions == 6
    assert found.gbits == pytest.approx(8 * 66_000 * 40_000 / 37 / 1e9)
    in_a_hurry = need(VISITS._replace(deadline=5.0), 0.001, 1e-5)
    assert in_a_hurry.drained <= 5.0 < fullest(40_000, in_a_hurry.workers - 1) * 0.001


def test_redis_takes_shards_by_its_time_and_memory_by_its_entities() -> None:
    users = Load("users", "behaviour", 100_000, 0.1, 250, 2**30, 460, 0.2)
    found = need(users, 30e-6, 2e-6)
    assert found.shards == math.ceil(2 / MOST_BUSY)
    assert found.memory_gib == 460
    assert found.workers == 50


def test_costs_must_explain_what_was_measured() -> None:
    assert explained(measured(110.0)["workloads"]["ztf"]) == pytest.approx(1.1)
    assert "Not to be relied on" not in tables(measured(110.0))
    for doubtful in (measured(250.0), measured(50.0), measured(110.0, quick=True)):
        assert "Not to be relied on" in tables(doubtful)


def test_a_simulated_worker_is_as_late_as_its_waits_and_its_work() -> None:
    p50, p99 = delays(1_000.0, 20.0, 1, Costs(batch=0.0, event=0.0))
    assert (p50, p99) == pytest.approx((LEAST_SECONDS / 2, LEAST_SECONDS), rel=0.1)
    slow = delays(1_000.0, 20.0, 4, Costs(batch=0.005, event=0.0))  # waits 60 ms, then 4 batches of 5 ms
    assert slow[0] == pytest.approx(0.04 + 0.0125, rel=0.1)
    assert delays(10_000.0, 20.0, 4, Costs(0.001, 200e-6))[1] > 5.0  # half as fast as what comes


def test_delays_must_be_explained_too() -> None:
    report = measured(110.0)
    one = report["workloads"]["ztf"] | {"costs": {"batch_us": 1_000.0, "event_us": 20.0}}
    one["contenders"] = {"ours": {"cpu_us": 110.0, "wall_us": 220.0}, "bare": {"cpu_us": 50.0}}
    simulated = 1e3 * delays(1_000.0, 20.0, 4, Costs(2e-3, 140e-6))[0]
    for times, doubtful in ((1.0, False), (1.9, False), (2.1, True), (0.4, True)):
        one["latency"] = {"1000": {"p50_ms": times * simulated, "p99_ms": 100.0}, "50000": {"problem": "behind"}}
        report["workloads"] = {"ztf": one}
        found = tables(report)
        assert ("Not to be relied on" in found) == doubtful
        assert f"| 1,000 | {times * simulated:.0f}, 100 | {simulated:.0f}, " in found


def test_the_page_has_what_the_last_run_comes_to() -> None:
    report = json.loads((ROOT / "docs" / "benchmarks" / "latest.json").read_text())
    found = between((ROOT / "docs" / "scaling.md").read_text())
    assert found == tables(report)
    assert all(load.name in found for load in LOADS)
