"""Has anything become slower? Ratios of a report of `make bench` beside those in docs/benchmarks/baseline.json.

Ratios within one run, never times: how many times Skimstream's CPU time the others take, and how many times that of
each stage fastavro takes to read the same event. A ratio that is less than the stored one by more than the baseline's
`tolerance` is a fall, and so is one that was not measured. `make bench-gate` fails then; `make test` only warns.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

BASELINE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "baseline.json"
# On two shared cores the medians of five repeats differ by up to a fifth from run to run.
TOLERANCE = 0.3


class Fall(NamedTuple):
    """A ratio that is less than it was; now None: not measured."""

    name: str
    before: float
    now: float | None

    def __str__(self) -> str:
        """
        >>> str(Fall("behaviour.naive", 60.0, 30.0))
        'behaviour.naive: 30.00, was 60.00 (-50 %)'
        """
        if self.now is None:
            return f"{self.name}: not measured, was {self.before:.2f}"
        return f"{self.name}: {self.now:.2f}, was {self.before:.2f} ({100 * (self.now / self.before - 1):+.0f} %)"


def ratios_of(report: Mapping[str, Any]) -> dict[str, float]:
    """All ratios of a report, by workload and name.

    >>> ratios_of({"workloads": {"ztf": {"ratios": {"naive": 30.0}, "stage_ratios": {"decode": 50.0}}}})
    {'ztf.naive': 30.0, 'ztf.stage.decode': 50.0}
    """
    found: dict[str, float] = {}
    for workload, one in report["workloads"].items():
        found |= {f"{workload}.{name}": ratio for name, ratio in one.get("ratios", {}).items()}
        found |= {f"{workload}.stage.{name}": ratio for name, ratio in one.get("stage_ratios", {}).items()}
    return found


def falls(now: Mapping[str, float], before: Mapping[str, float], tolerance: float) -> list[Fall]:
    """The ratios that fell, most first.

    >>> [str(one) for one in falls({"a": 69.0, "b": 71.0, "new": 1.0}, {"a": 100.0, "b": 100.0}, 0.3)]
    ['a: 69.00, was 100.00 (-31 %)']
    """
    found = [
        Fall(name, ratio, now.get(name))
        for name, ratio in before.items()
        if name not in now or now[name] < ratio * (1 - tolerance)
    ]
    return sorted(found, key=lambda fall: (fall.now or 0.0) / fall.before)


def kind_of(report: Mapping[str, Any]) -> str:
    """Quick runs are compared with quick ones."""
    return "quick" if report["quick"] else "full"


def judge(report: Mapping[str, Any], baseline: Mapping[str, Any], parts: str = "") -> list[Fall]:
    """The falls of a report; `parts`: only ratios whose name has this in it."""
    stored = {name: ratio for name, ratio in baseline.get(kind_of(report), {}).items() if parts in name}
    return falls(ratios_of(report), stored, baseline.get("tolerance", TOLERANCE))


def main() -> int:
    """Compare, or store; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="a report of bench.py")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--advisory", action="store_true", help="only warn")
    parser.add_argument("--parts", default="", help="only ratios whose name has this in it")
    parser.add_argument("--store", action="store_true", help="these ratios are the baseline from now on")
    given = parser.parse_args()
    report = json.loads(given.report.read_text())
    baseline: dict[str, Any] = (
        json.loads(given.baseline.read_text()) if given.baseline.exists() else {"tolerance": TOLERANCE}
    )
    if given.store:
        baseline[kind_of(report)] = {**baseline.get(kind_of(report), {}), **ratios_of(report)}
        given.baseline.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")
        return 0
    if not baseline.get(kind_of(report)):
        print(f"{given.baseline} has no ratios of {kind_of(report)} runs: --store some first", file=sys.stderr)
        return 0 if given.advisory else 1
    found = judge(report, baseline, given.parts)
    for fall in found:
        print(("warning: " if given.advisory else "") + str(fall), file=sys.stderr)
    if not found:
        print("no ratio fell", file=sys.stderr)
    return 1 if found and not given.advisory else 0


if __name__ == "__main__":
    sys.exit(main())
