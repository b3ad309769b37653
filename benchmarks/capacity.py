"""How many workers, partitions and Redis shards a stream needs, from what `make bench` measured: docs/scaling.md.

A stage that is fed in bursts: every `period` seconds a visit's alerts are there at once, workers take them at 1 / cost
each, what is left waits for the next (Lindley's recursion). Partitions are filled by a hash of the object, so the
fullest gets more than its share; a visit is done when its fullest worker is.

The costs must first explain what was measured: the stages' times and a bare loop's, added up, beside the whole path's;
and how late events were on the board at the rates that were offered, beside a simulated worker's (`pacing.py`).
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pacing import Costs, delays

ROOT = Path(__file__).resolve().parents[1]
REPORT, PAGE = ROOT / "docs" / "benchmarks" / "latest.json", ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- benchmarks/capacity.py: begin -->", "<!-- benchmarks/capacity.py: end -->"
# Of a core. Beyond, what waits grows without bound at the least disturbance.
MOST_BUSY = 0.6
# Costs that explain the whole to within this are good enough to multiply.
EXPLAINED = (0.75, 1.33)
# Of the delays that are simulated: a producer, a broker and Redis share the cores with what was measured.
SIMULATED = (0.5, 2.0)
SECONDS = 20.0
GIB = 2.0**30


class Load(NamedTuple):
    """What comes: `burst` events at once, every `period` seconds, of `bytes` each, about `entities` things in all.

    workload: whose measured costs are taken. kept: bytes that Redis keeps of an entity. deadline: seconds for a burst.
    """

    name: str
    workload: str
    burst: int
    period: float
    bytes: int
    entities: int
    kept: int
    deadline: float

    @property
    def rate(self) -> float:
        """Events a second, in the mean."""
        return self.burst / self.period


# DMTN-102: 10 M alerts a night in 1,000 visits, 40,000 to be supported; a visit each 37 s. Real packets have 102 to 143
# kB. State mode keeps 5 KB an object (docs/method.md), packet mode none. A user's row takes 460 bytes.
RUBIN_BYTES = 120_000
LOADS = (
    Load("Rubin, an ordinary visit", "ztf", 10_000, 37.0, RUBIN_BYTES, 0, 0, 37.0),
    Load("Rubin, a Galactic visit each time", "ztf", 40_000, 37.0, RUBIN_BYTES, 0, 0, 37.0),
    Load("1 M behavioural events/s", "behaviour", 100_000, 0.1, 250, 50_000_000, 460, 0.1 / MOST_BUSY),
)


class Need(NamedTuple):
    """What a load takes. drained: seconds until the fullest worker is done with a burst; gibs: network, Gbit/s."""

    workers: int
    partitions: int
    shards: int
    memory_gib: float
    gbits: float
    busy: float
    drained: float


def fullest(burst: int, workers: int) -> int:
    """Events of the fullest of so many workers, of a burst that a hash deals out: mean + sqrt(2 ln w) deviations.

    >>> fullest(10_000, 1), fullest(10_000, 4)
    (10000, 2573)
    """
    mean = burst / workers
    return burst if workers == 1 else math.ceil(mean + math.sqrt(2 * math.log(workers) * mean * (1 - 1 / workers)))


def waiting(bursts: Sequence[int], period: float, rate: float) -> list[float]:
    """Events that wait just after each burst, where `rate` a second are taken: Lindley's recursion.

    >>> waiting([100, 400, 100, 100], period=10.0, rate=20.0)
    [100.0, 400.0, 300.0, 200.0]
    """
    left, found = 0.0, []
    for burst in bursts:
        left = max(0.0, left) + burst
        found.append(left)
        left -= rate * period
    return found


def drain(bursts: Sequence[int], period: float, rate: float) -> float:
    """Seconds until the last event of the worst burst is done.

    >>> drain([100, 400, 100, 100], period=10.0, rate=20.0)
    20.0
    """
    return max(waiting(bursts, period, rate)) / rate


def need(load: Load, cost: float, store_cost: float) -> Need:
    """The fewest workers, of a core each, that keep up and are in time; costs: seconds of a worker and of Redis."""
    workers = max(1, math.ceil(load.rate * cost / MOST_BUSY))
    while fullest(load.burst, workers) * cost > load.deadline:
        workers += 1
    shards = max(1, math.ceil(load.rate * store_cost / MOST_BUSY))
    return Need(
        workers,
        3 * workers,  # so that a third more workers, or a third fewer, still share evenly
        shards,
        load.entities * load.kept / GIB,
        8 * load.rate * load.bytes / 1e9,
        load.rate * cost / workers,
        drain([fullest(load.burst, workers)] * 3, load.period, 1 / cost),
    )


def explained(one: Mapping[str, Any]) -> float:
    """The whole path's CPU time over that of its stages and a bare loop's."""
    parts = sum(one["stages_us"][stage] for stage in one["stage_ratios"]) + one["contenders"]["bare"]["cpu_us"]
    return float(one["contenders"]["ours"]["cpu_us"] / parts)


class Late(NamedTuple):
    """Delays at an offered rate, in milliseconds: median and 99th percentile, measured and simulated."""

    rate: int
    measured: tuple[float, float]
    simulated: tuple[float, float]

    @property
    def explained(self) -> bool:
        """Whether the medians agree well enough."""
        return SIMULATED[0] <= self.simulated[0] / self.measured[0] <= SIMULATED[1]


def lateness(one: Mapping[str, Any], partitions: int = 4) -> list[Late]:
    """What was offered, measured and simulated. Costs are CPU time, stretched as the whole path's wall time is."""
    found: list[Late] = []
    if "costs" not in one or "contenders" not in one:
        return found
    ours, bare = one["contenders"]["ours"], one["contenders"]["bare"]["cpu_us"]
    stretch = ours["wall_us"] / ours["cpu_us"] / 1e6
    costs = Costs(stretch * one["costs"]["batch_us"], stretch * (one["costs"]["event_us"] + bare))
    for rate, late in one.get("latency", {}).items():
        if "problem" not in late:
            p50, p99 = delays(float(rate), SECONDS, partitions, costs)
            found.append(Late(int(rate), (late["p50_ms"], late["p99_ms"]), (1e3 * p50, 1e3 * p99)))
    return found


def complete(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The workloads of which both whole paths and stages were measured."""
    return {
        name: one
        for name, one in report["workloads"].items()
        if "stages_us" in one and {"ours", "bare"} <= one.get("contenders", {}).keys()
    }


def sums_up(ratios: Iterable[float]) -> bool:
    """Whether the parts explain the whole."""
    return all(EXPLAINED[0] <= ratio <= EXPLAINED[1] for ratio in ratios)


def store_share(one: Mapping[str, Any]) -> float:
    """Microseconds of Redis an event: as much as the client's commit takes, at most (the client's includes metrics)."""
    return float(one["stages_us"]["commit"])


def tables(report: Mapping[str, Any]) -> str:
    """Markdown: first whether the costs explain what was measured, then what loads need."""
    lines = ["| workload | stages and a bare loop, µs | whole path, µs | ratio |", "|---|---:|---:|---:|"]
    workloads = complete(report)
    ratios = {name: explained(one) for name, one in workloads.items()}
    late = [found for one in workloads.values() for found in lateness(one)]
    for name, one in workloads.items():
        whole = one["contenders"]["ours"]["cpu_us"]
        lines.append(f"| {name} | {whole / ratios[name]:.1f} | {whole:.1f} | {ratios[name]:.2f} |")
    if late:
        lines += [
            "",
            "| offered, events/s | on the board after, ms: p50, p99 | simulated: p50, p99 |",
            "|---:|---:|---:|",
        ]
        lines += [
            f"| {one.rate:,} | {one.measured[0]:.0f}, {one.measured[1]:.0f} "
            f"| {one.simulated[0]:.0f}, {one.simulated[1]:.0f} |"
            for one in late
        ]
    if report["quick"] or not (sums_up(ratios.values()) and all(one.explained for one in late)):
        (least, most), (low, high) = EXPLAINED, SIMULATED
        doubt = (
            f"of a quick run, or the ratio isn't between {least} and {most}, "
            f"or a simulated median isn't {low} to {high} times the measured one. `make bench` first."
        )
        lines += ["", f"**Not to be relied on: {doubt}**"]
    lines += ["", "| load | events/s | workers | partitions | busy | a burst is done after | Redis | network |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|---:|")
    for load in LOADS:
        if load.workload not in workloads:
            continue
        one = workloads[load.workload]
        found = need(load, one["contenders"]["ours"]["cpu_us"] / 1e6, store_share(one) / 1e6)
        shards = f"{found.shards} shard{'s' if found.shards > 1 else ''}, {found.memory_gib:.1f} GiB"
        lines.append(
            f"| {load.name} | {load.rate:,.0f} | {found.workers:,} | {found.partitions:,} | {100 * found.busy:.0f} % "
            f"| {found.drained:.2f} s | {shards} | {found.gbits:.2f} Gbit/s |"
        )
    return "\n".join(lines) + "\n"


def between(page: str) -> str:
    """What the page has between the marks."""
    return page.partition(f"{BEGIN}\n")[2].partition(END)[0]


def rewrite(page: Path, report: Mapping[str, Any]) -> None:
    """Put a report's tables into the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{tables(report)}{END}{rest.partition(END)[2]}")


def main() -> int:
    """Write the page; 1 if the costs don't explain what was measured."""
    report = json.loads(REPORT.read_text())
    rewrite(PAGE, report)
    print(tables(report))
    workloads = complete(report).values()
    late = [found for one in workloads for found in lateness(one)]
    return 0 if sums_up(map(explained, workloads)) and all(one.explained for one in late) else 1


if __name__ == "__main__":
    sys.exit(main())
