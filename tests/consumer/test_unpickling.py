"""A worker loads no training library and unpickles nothing but what numba itself has compiled and kept."""

import json
import subprocess
import sys

WARMED_UP = """
import json, sys

def hook(event, args):
    if event == "pickle.find_class":
        files, frame = [], sys._getframe()
        while frame is not None:
            files.append(frame.f_code.co_filename)
            frame = frame.f_back
        found.append([f"{args[0]}.{args[1]}", [file.replace("\\\\", "/") for file in files]])

found = []
sys.addaudithook(hook)
import skimstream.cli.main, skimstream.consumer.run
from skimstream.cli.models import warm_up_model
from skimstream.consumer.streams.registry import NAMES, stream_of
for name in NAMES:
    skimstream.consumer.run.warm_up(stream_of(name), warm_up_model(name))
print(json.dumps([found, sorted(sys.modules)]))
"""
CACHE = ("/numba/core/caching.py", "/numba/core/serialize.py")


def test_a_warm_worker_has_unpickled_numbas_cache_alone() -> None:
    for _ in range(2):  # the first may compile; the second finds the cache
        done = subprocess.run(
            [sys.executable, "-c", WARMED_UP], check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    found, modules = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 10, "the hook heard nothing: is numba's cache off?"
    assert [name for name, files in found if not any(file.endswith(CACHE) for file in files)] == []
    assert {"sklearn", "joblib", "river", "pandas"} & set(modules) == set()
    assert "skimstream.scoring.forest" in modules
