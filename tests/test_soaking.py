"""The soak's arithmetic, and a short one."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import soak
import soaking.look
from soaking.look import Look, look_at, percentile

ROOT = Path(__file__).resolve().parents[1]


def looks(resident: float, slow: float = 0.1) -> list[Look]:
    """An hour of looks: so many bytes a second more, 100 events each time, and in the last quarter others."""
    found, counts = [], {0.1: 0.0, 0.2: 0.0, float("inf"): 0.0}
    for at in range(0, 3_600, 5):
        for bound in counts:
            counts[bound] += 100 if bound >= (slow if at > 2_800 else 0.1) else 0
        found.append(Look(float(at), round(2**28 + resident * at), 14, 20, dict(counts)))
    return found


def test_examples() -> None:
    assert doctest.testmod(soaking.look).failed == 0


def test_what_grows_and_what_gets_slower_is_told() -> None:
    steady = soak.told(looks(0.0), [], 3_600.0, 100)
    assert (steady["resident_mib_per_hour"], steady["p99_drift"]) == (0.0, 0.0)
    assert (steady["threads"], steady["descriptors"]) == ([14], [20])
    growing = soak.told(looks(2**20 / 1_800, slow=0.2), [], 3_600.0, 100)
    assert growing["resident_mib_per_hour"] == pytest.approx(2.0, abs=0.01)
    assert growing["p99_seconds"] == [0.099, 0.199]


def test_what_a_fault_holds_up_is_left_out() -> None:
    held = soak.told(looks(0.0, slow=0.2), [float(at) for at in range(2_800, 3_600, 30)], 3_600.0, 100)
    assert held["p99_seconds"] == [0.099, 0.0]
    assert not soak.quiet(100.0, [90.0])
    assert soak.quiet(121.0, [90.0])


def test_a_look_at_this_process() -> None:
    exposition = (
        f'{soaking.look.BUCKETS}{{stream="s",le="0.5"}} 3.0\n{soaking.look.BUCKETS}{{stream="s",le="+Inf"}} 4.0\n'
    )
    found = look_at(7.0, os.getpid(), exposition)
    assert found.resident > 2**20
    assert found.threads >= 1
    assert found.descriptors >= 3
    assert (found.latency, found.applied) == ({0.5: 3.0, float("inf"): 4.0}, 4.0)
    # Beyond the last bound nothing more is known.
    assert percentile([look_at(0.0, os.getpid(), ""), found], 0.99, lambda at: True) == 0.5


@pytest.mark.nightly
def test_a_short_soak_loses_nothing() -> None:
    command = [sys.executable, "benchmarks/soak.py", "--hours", "0.03", "--rate", "200", "--fault", "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["lost"] == 0
    assert sum(told["faults"].values()) >= 3
    assert told["sent"] > 10_000
