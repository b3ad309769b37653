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

# No model of this stream comes with the package, so this one ends before the scores.
LSST = """
import gc, json, sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from skimstream.cli.models import warm_up_model
from skimstream.consumer.run import warm_up
from skimstream.consumer.streams.lsst import Lsst
from skimstream.schemas.decode import Decoder
from skimstream.schemas.registry import Registry
from stage.lsst import MJD, alert, source, write_schemas, written

def compiled():
    kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    ours = [one for one in kernels if one.py_func.__module__.startswith("skimstream")]
    return {f"{one.py_func.__module__}.{one.py_func.__name__}": len(one.signatures) for one in ours}

stream = Lsst(history="state")
warm_up(stream, warm_up_model("lsst"))
before, registry = compiled(), Registry(folder=write_schemas(Path(sys.argv[1]), (9, 0)))
records = [alert(source(MJD + i), [source(MJD - 1)], [source(MJD - 2, 5.0)]) for i in range(6)]
state, decoder = stream.open(), Decoder(stream.wanted, "auto", registry=registry)
for size in (1, 2, 6):
    columns = decoder.decode([written(record, 9, 0) for record in records[:size]]).columns
    assert stream.check(columns) == []
    state.entities.admit(state.keys(columns))
    found = state.features(columns)
assert len(found.rows) > 0
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


def test_nor_does_one_that_remembers_light_curves_of_fluxes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LSST, str(tmp_path)], cwd=TESTS, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
