"""A stream of one's own compiles nothing after its warm-up: one kernel serves all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import redis

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
import gc, itertools, json, sys
from pathlib import Path
import numpy as np
import redis
from numba.core.dispatcher import Dispatcher
from skimstream.consumer.own import definitions_in
from skimstream.consumer.run import warm_up
from skimstream.consumer.streams.own import Own
from skimstream.scoring.train import Options, train
from stage.listed import Listed, Topic, recorder

def compiled():
    kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    ours = [one for one in kernels if one.py_func.__module__.startswith("skimstream")]
    return {f"{one.py_func.__module__}.{one.py_func.__name__}": len(one.signatures) for one in ours}

text = '[stream.payments]\\nframing = "json"\\nkey = "card"\\ntime = "when"\\ntime_format = "seconds"\\n'
stream = Own(definitions_in(text + sys.argv[1], Path())["payments"])
rng = np.random.default_rng(1)
rows = rng.normal(size=(1_500, len(stream.features)))
model = train("payments", stream.features, stream.units, rows, options=Options(10))
warm_up(stream, model)
before = compiled()
events = [
    {"card": f"c{i % 90}", "shop": i % 700, "when": 1.79e9 + 60.0 * i, "amount": float(i % 13), "kind": "ab"[i % 2],
     "fraud": 1 if i % 9 == 1 else None, "paid": 1.78e9}
    for i in range(3_000)
]
worker = recorder(redis.Redis.from_url(sys.argv[2]), "payments", stream, model=model)
source = Listed(Topic({0: [json.dumps(one).encode() for one in events]}), itertools.cycle([1, 7, 200, 500]))
worker.run(source, lambda: source.done)
assert worker.tally.scored > 50, worker.tally
print(json.dumps({kernel: count for kernel, count in compiled().items() if count > before.get(kernel, 0)}))
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    "fields",
    [
        'numbers = ["amount"]',
        'categories = ["kind"]\nintegers = ["shop"]\nentities = ["shop"]\ngates = ["amount > 3"]',
        'numbers = ["amount"]\nentities = ["shop"]\nlabels = { field = "fraud", event_time = "paid" }',
    ],
)
def test_a_warm_worker_compiles_nothing_more(fields: str, store: redis.Redis, store_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, fields, store_url], cwd=TESTS, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
