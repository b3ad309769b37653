"""Fuzzes the decoder with Atheris (libFuzzer): `make fuzz FOR=60s`. The last line is one JSON object.

Coverage guides it through the Python of `skimstream.schemas` alone: numba's compiled kernels run, but can't be
instrumented, and those modules are left as they are (tests/schemas/test_kernel.py compares them with two other
readers instead). New inputs that reach more are kept in build/fuzz/corpus, what fails in build/fuzz.
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SEEDS = HERE / "corpus/decode"
WORK = ROOT / "build/fuzz"
LONGEST = 16 << 10
DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")


def compiled() -> list[str]:
    """The modules with numba kernels, whose bytecode must stay as it is."""
    return [
        f"skimstream.schemas.{path.stem}" for path in (ROOT / "schemas").glob("*.py") if "numba" in path.read_text()
    ]


def fuzz(options: list[str]) -> None:
    """Run libFuzzer in this process, which it ends."""
    import logging

    import atheris

    logging.disable()
    # Atheris looks at a module's first name only; `schemas` imports no other room, and the target comes after it.
    with atheris.instrument_imports(include=["skimstream"], exclude=compiled()):
        importlib.import_module("skimstream.schemas.decode")
    one_input = importlib.import_module("target").one_input
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


def main() -> int:
    """Run the fuzzer as a child and sum it up; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="time", default="60s", help="how long, in seconds: 60s")
    time = parser.parse_args().time
    (WORK / "corpus").mkdir(parents=True, exist_ok=True)
    earlier = {path.name for path in WORK.glob("*-*")}
    options = [f"-max_total_time={int(time.removesuffix('s'))}", f"-max_len={LONGEST}", f"-artifact_prefix={WORK}/"]
    options += ["-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1", str(WORK / "corpus"), str(SEEDS)]
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = ""
    assert child.stdout is not None
    for line in child.stdout:
        said += line
        print(line, end="", flush=True)
    code = child.wait()
    failures = sorted(path.name for path in WORK.glob("*-*") if path.name not in earlier)
    runs, seconds = map(int, done.groups()) if (done := DONE.search(said)) else (0, 0)
    coverage = COVERAGE.findall(said)
    edges = int(coverage[-1][0]) if coverage else 0
    print(json.dumps({"runs": runs, "seconds": seconds, "edges": edges, "crashes": len(failures), "files": failures}))
    return 1 if failures or code != 0 or runs == 0 else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2:])
    else:
        sys.exit(main())
