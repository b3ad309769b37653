"""What the project asks of itself, beside what was measured: each line met, not met, or not measured."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from whole.arena import ROOT

Report = Mapping[str, Any]
VISIT = 10_000  # alerts of one visit of a large survey telescope


class Goal(NamedTuple):
    """One line: at least `bound` of `unit`, or at most if not `least`. figure: from a report, KeyError = not there."""

    what: str
    figure: Callable[[Report], float]
    bound: float
    unit: str
    least: bool = True

    def met(self, figure: float) -> bool:
        """Whether this figure will do."""
        return figure >= self.bound if self.least else figure <= self.bound


def _decode(alert: str) -> Callable[[Report], float]:
    return lambda report: report["kernels"]["decode"][alert]["bare_ratio"]


def _kernel(name: str) -> Callable[[Report], float]:
    return lambda report: report["kernels"]["ratios"][name]


def _whole(workload: str, other: str) -> Callable[[Report], float]:
    return lambda report: report["workloads"][workload]["ratios"][other]


def _late(share: str) -> Callable[[Report], float]:
    return lambda report: report["workloads"]["behaviour"]["latency"]["10000"][share]


def _visit(report: Report) -> float:
    return float(VISIT * report["workloads"]["ztf"]["contenders"]["ours"]["cpu_us"] / 1e6)


def _crowd(report: Report) -> float:
    found = report["keys"]
    return float(found["5000000"]["resident_mib"] / found["1000000"]["resident_mib"])


GOALS = (
    Goal("decode a ZTF v4.01 alert", _decode("ztf_v4.01"), 50, "x fastavro"),
    Goal("decode an event of 18 fields", _decode("behaviour_event"), 20, "x fastavro"),
    Goal("forest, 100 trees, 18 features, one row", _kernel("forest_batch_1"), 500, "x scikit-learn"),
    Goal("forest, 256 rows", _kernel("forest_batch_256"), 30, "x scikit-learn"),
    Goal("forest, 1,024 rows", _kernel("forest_batch_1024"), 10, "x scikit-learn"),
    Goal("half-space trees, 10 of height 8", _kernel("halfspace_river_10x8"), 40, "x River"),
    Goal("half-space trees, 25 of height 15", _kernel("halfspace_river_25x15"), 800, "x River"),
    Goal("whole path, events, against (a)", _whole("behaviour", "naive"), 40, "x"),
    Goal("whole path, events, against (c)", _whole("behaviour", "quix"), 10, "x"),
    Goal("whole path, events, of (d)'s rate", _whole("behaviour", "bare"), 0.5, "x"),
    Goal("whole path, ZTF alerts, against (a)", _whole("ztf", "naive"), 25, "x"),
    Goal(f"a visit of {VISIT:,} ZTF alerts", _visit, 5, "s of CPU", least=False),
    Goal("at 10,000 events/s, on the board after, p50", _late("p50_ms"), 50, "ms", least=False),
    Goal("at 10,000 events/s, on the board after, p99", _late("p99_ms"), 250, "ms", least=False),
    Goal("memory with 5 M users, of that with 1 M", _crowd, 1.05, "x", least=False),
    Goal("`skim run` to the first score", lambda report: report["start"]["warm_s"], 3, "s", least=False),
    Goal("the first start ever, which compiles", lambda report: report["start"]["first_s"], 30, "s", least=False),
)


def kernels() -> dict[str, Any]:
    """The figures of `make bench-decode` and `make bench-scoring`."""
    found: dict[str, Any] = {}
    for script in ("decode.py", "scoring.py"):
        command = [sys.executable, str(ROOT / "benchmarks" / script)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (its own)
        found |= json.loads(done.stdout.splitlines()[-1])
    return {"decode": found["decode"], "ratios": found["ratios"]}


def judged(report: Report) -> Iterator[tuple[Goal, float | None]]:
    """Each goal with its figure, None where it wasn't measured.

    >>> [figure for goal, figure in judged({"start": {"warm_s": 2.5}}) if figure]
    [2.5]
    """
    for goal in GOALS:
        try:
            yield goal, goal.figure(report)
        except KeyError:
            yield goal, None


def lines(report: Report) -> list[str]:
    """A table in Markdown; nothing if none of it was measured."""
    found = list(judged(report))
    if all(figure is None for _, figure in found):
        return []
    rows = []
    for goal, figure in found:
        asked = f"{'≥' if goal.least else '≤'} {goal.bound:g} {goal.unit}"
        verdict = "not measured" if figure is None else "met" if goal.met(figure) else "**not met**"
        rows.append(f"| {goal.what} | {asked} | {'' if figure is None else f'{figure:,.3g}'} | {verdict} |")
    return ["### Goals", "", "| | goal | measured | |", "|---|---:|---:|---|", *rows, ""]
