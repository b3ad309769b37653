"""All evaluations, one after another; the last line is one JSON object with the figures of each.

    python benchmarks/evaluate.py [streams|calibration|behaviour|observation|fdh|ztf …]

Takes some half an hour on one core. Seeds are fixed, intervals are shown; real data comes from ../shared where it is
there. What the figures mean: docs/streams.md, behaviour.md, observation.md, own-stream.md, evaluation.md.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "data"
ALERTS = sorted(str(path) for pattern in ("ztf/*.tar.gz", "fink/ocf/*.avro") for path in SHARED.glob(pattern))
SKIM = str(Path(sys.executable).parent / "skim")

EVALUATIONS = {
    "streams": [sys.executable, str(HERE / "evaluate_streams.py")],
    "calibration": [sys.executable, str(HERE / "evaluate_calibration.py")],
    "behaviour": [sys.executable, str(HERE / "evaluate_behaviour.py")],
    "observation": [sys.executable, str(HERE / "evaluate_observation.py")],
    "fdh": [sys.executable, str(HERE / "evaluate_fdh.py")],
    "ztf": [SKIM, "evaluate", "ztf", *ALERTS, "--seeds", "8"],
}


def run(name: str) -> object:
    """One evaluation, its output passed on; the JSON of its last line."""
    print(f"== {name}", flush=True)
    last = ""
    with subprocess.Popen(EVALUATIONS[name], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (its own)
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line if line.strip() else last
    if process.returncode:
        raise SystemExit(f"{name} failed with {process.returncode}")
    return json.loads(last)


def main() -> None:
    """Those that are named, or all."""
    names = sys.argv[1:] or list(EVALUATIONS)
    if unknown := set(names) - set(EVALUATIONS):
        raise SystemExit(f"no such evaluation: {', '.join(sorted(unknown))}; choose from {', '.join(EVALUATIONS)}")
    print(json.dumps({name: run(name) for name in names}))


if __name__ == "__main__":
    main()
