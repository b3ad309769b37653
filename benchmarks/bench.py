"""The whole path against others, and where its time goes: `make bench`. The last line is one JSON object.

Whole paths from a broker to the board, each contender in a process of its own on the same broker, interleaved; CPU time
of the process (all its threads) and wall time an event, from the first message in hand to the last commit, so that
imports and compiling don't count. Then Skimstream's stages by themselves. Compare ratios: times belong to the machine.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import capacity
from whole import budget
from whole.arena import ROOT, Arena, arena, mean_bytes, workload
from whole.contender import CONTENDERS
from whole.history import history
from whole.keys import keys
from whole.latency import latency
from whole.page import rewrite
from whole.paths import race
from whole.scaling import scaling
from whole.stages import stages
from whole.start import starts
from whole.trained import model_of

FOLDER, PAGE = ROOT / "docs" / "benchmarks", ROOT / "docs" / "performance.md"
PARTIAL = ROOT / "build" / "bench" / "partial.json"
PARTITIONS = 4
#: Messages by workload: of a full run, and of a quick one.
COUNTS = {"behaviour": (80_000, 2_000), "ztf": (10_000, 300), "lsst": (10_000, 600)}
PACKAGES = ("confluent-kafka", "fastavro", "numba", "numpy", "redis", "river", "scikit-learn")
PARTS = ("paths", "stages", "latency", "start", "scaling", "history", "kernels", "keys")
EVENTS = {False: 120_000, True: 6_000}  # that workers share


def main() -> None:
    """Measure, print, write."""
    given = parse()
    wanted = given.workload or list(COUNTS)
    report: dict[str, Any] = {"machine": machine(), "quick": given.quick, "repeats": given.repeats, "workloads": {}}
    with arena(given.mock) as where:
        report["broker"] = where.kind
        for name in wanted:
            report["workloads"][name] = measured(where, name, given)
            keep(report)
        for part, figures in beside(where, given):
            report[part] = figures
            keep(report)
    report["machine"]["load_after"] = os.getloadavg()[0]
    print(table(report), file=sys.stderr)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "latest.json").write_text(json.dumps(report, indent=1) + "\n")
        draw(report, given.out / "paths.svg")
        if given.out.resolve() == FOLDER:
            rewrite(PAGE, report)
            capacity.rewrite(capacity.PAGE, report)
    print(json.dumps(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages: to see that it runs, not how fast")
    parser.add_argument("--workload", action="append", choices=list(COUNTS), help="only this one")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats (5)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part")
    parser.add_argument("--mock", action="store_true", help="librdkafka's mock cluster, even where there is a Kafka")
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="only these, beside ours")
    parser.add_argument("--out", type=Path, default=None, help=f"write latest.json and a picture ({FOLDER})")
    return parser.parse_args()


def beside(where: Arena, given: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """What is measured of one workload only, or of none: by part."""
    parts, quick = wanted_parts(given), given.quick
    if "start" in parts and not quick:  # compiling takes half a minute
        yield "start", starts(where, "behaviour", workload("behaviour", 2_000)[0], given.repeats)
    if "scaling" in parts:
        yield "scaling", scaling(where, "behaviour", workload("behaviour", EVENTS[quick])[0], quick)
    if "history" in parts:
        yield "history", history(quick, given.repeats)
    if "kernels" in parts and not quick:
        yield "kernels", budget.kernels()
    if "keys" in parts:
        yield "keys", keys(where, quick)


def keep(report: dict[str, Any]) -> None:
    """What there is so far, should the rest fail."""
    PARTIAL.parent.mkdir(parents=True, exist_ok=True)
    PARTIAL.write_text(json.dumps(report, indent=1) + "\n")


def wanted_parts(given: argparse.Namespace) -> Sequence[str]:
    """All of them, or those that were asked for."""
    return given.only or PARTS


def measured(where: Arena, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Everything about one workload."""
    messages, what = workload(name, COUNTS[name][given.quick])
    found: dict[str, Any] = {"what": what, "messages": len(messages), "bytes": round(mean_bytes(messages))}
    parts = wanted_parts(given)
    if "paths" in parts:
        where.fill(name, PARTITIONS, messages)
        others = given.contender or [one for one in CONTENDERS if one != "ours"]
        found |= race(
            where, name, PARTITIONS, len(messages), given.repeats, ["ours", *others], str(model_of(name) or "")
        )
    if "stages" in parts:
        with where.store.client() as store:
            found |= stages(name, messages[: COUNTS[name][given.quick] // 2], store, given.repeats)
    if "latency" in parts and name == "behaviour":
        found["latency"] = latency(where, name, PARTITIONS, messages, given.quick)
    return found


def machine() -> dict[str, Any]:
    """What it was measured on, and with."""
    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "none"
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "versions": packages,
    }


def table(report: dict[str, Any]) -> str:
    """For people."""
    lines = [f"broker: {report['broker']}; load {report['machine']['load_before']:.1f}; repeats {report['repeats']}"]
    for name, one in report["workloads"].items():
        lines.append(f"{name}: {one['what']}, {one['messages']} messages of {one['bytes']} bytes")
        for who, figures in one.get("contenders", {}).items():
            ratio = one["ratios"].get(who)
            times = f"{ratio:8.2f} x ours" if ratio else " " * 15
            lines.append(f"  {who:8s} {figures['cpu_us']:10.2f} us CPU {figures['wall_us']:10.2f} us wall {times}")
        lines += [f"  {who:8s} not run: {problem}" for who, problem in one.get("problems", {}).items()]
        for rate, late in one.get("latency", {}).items():
            said = late.get("problem") or f"p50 {late['p50_ms']}, p99 {late['p99_ms']}, p99.9 {late['p999_ms']} ms"
            lines.append(f"  at {int(rate):,}/s offered: {said}")
        lines += [f"  {stage:20s} {spent:8.2f} us" for stage, spent in one.get("stages_us", {}).items()]
    for part in ("scaling", "keys", "history"):
        lines += [f"{part} {name}: {figures}" for name, figures in report.get(part, {}).items()]
    lines += budget.lines(report)
    return "\n".join(lines)


def draw(report: dict[str, Any], path: Path) -> None:
    """CPU time an event by contender, a panel a workload; without matplotlib there is no picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: pip install 'skimstream[bench]'", file=sys.stderr)
        return
    shown = {name: one["contenders"] for name, one in report["workloads"].items() if one.get("contenders")}
    if not shown:
        return
    figure = Figure(figsize=(5 * len(shown), 3), layout="constrained")
    for axes, (name, contenders) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        bars = axes.barh(list(contenders), [one["cpu_us"] for one in contenders.values()], color="#4878a8")
        axes.bar_label(bars, fmt="%.3g", padding=3)
        axes.set(xscale="log", title=name, xlabel="CPU time an event, µs (less is better)")
        axes.margins(x=0.15)
        axes.invert_yaxis()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
