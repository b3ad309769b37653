"""What a worker compiles before it is ready: everything, so that no event waits for a compiler."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
import gc, itertools, json, sys
from datetime import UTC, date, datetime
import redis
from numba.core.dispatcher import Dispatcher
from skimstream.cli.models import load_model
from skimstream.consumer.run import warm_up
from skimstream.consumer.streams.registry import stream_of
from skimstream.producer.encode import container, plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.producer.simulate.observations import simulate_observations
from stage.listed import Listed, Topic, recorder, sessions

def compiled():
    kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    ours = [one for one in kernels if one.py_func.__module__.startswith("skimstream")]
    return {f"{one.py_func.__module__}.{one.py_func.__name__}": len(one.signatures) for one in ours}

name, start = sys.argv[1], datetime(2026, 11, 21, tzinfo=UTC)
warm_up(stream_of(name), load_model(name, None))
before = compiled()
if name == "behaviour":
    events = sessions(1_200)
elif name == "ztf":
    events = [container(one.record, load("ztf_like")) for one in simulate_night(3, date(2026, 11, 21), 300, 0.05)]
else:
    events = [plain(one.record, load(name)) for one in simulate_observations(3, start, 1_200, 0.05)]
worker = recorder(redis.Redis.from_url(sys.argv[2]), name, stream_of(name))
source = Listed(Topic({0: events}), itertools.cycle([1, 7, 200, 500]))
worker.run(source, lambda: source.done)
assert worker.tally.scored > 50, worker.tally
after = compiled()
print(json.dumps({kernel: count for kernel, count in after.items() if count > before.get(kernel, 0)}))
"""


@pytest.mark.parametrize("stream", ["behaviour", "ztf", "observation"])
def test_a_warm_worker_compiles_nothing_more(stream: str, store_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, stream, store_url], cwd=TESTS, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
