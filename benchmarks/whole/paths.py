"""Whole paths from a broker to the board: contenders in turn, each in a process of its own, interleaved repeats."""

import json
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

from whole.arena import ROOT, Arena
from whole.spec import Spec

#: Quix Streams wants an older client than Skimstream's default: `make build/quix` gives it an environment of its own.
QUIX = ROOT / "build" / "quix" / "bin" / "python"
TIMEOUT = 900.0
#: Of those that take milliseconds an event, fewer are asked for.
SHARE = {"ours": 1.0, "bare": 1.0, "batched": 0.1, "quix": 0.1, "naive": 0.01}
FEWEST = 200


class Run(NamedTuple):
    """One contender's figures of one repeat, or why there are none."""

    figures: dict[str, float] | None
    problem: str = ""


def race(
    arena: Arena, stream: str, partitions: int, count: int, repeats: int, names: list[str], model: str = ""
) -> dict[str, Any]:
    """Medians by contender, and ratios of CPU time to ours; the order turns from repeat to repeat."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    problems: dict[str, str] = {}
    for turn in range(repeats):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            if name in problems:
                continue
            arena.empty()
            events = min(count, max(FEWEST, int(count * SHARE[name])))
            group = f"{stream}-{name}-{turn}"
            spec = Spec(stream, arena.bootstrap, stream, partitions, arena.store.url, events, group, model)
            one = run(name, spec)
            if one.figures is None:
                problems[name] = one.problem
            else:
                found[name].append(one.figures)
                cpu, wall = one.figures["cpu_us"], one.figures["wall_us"]
                print(f"  {stream} {turn + 1} {name:8s} {cpu:10.2f} us CPU, {wall:10.2f} us wall", file=sys.stderr)
    return {
        "contenders": {name: medians(figures) for name, figures in found.items() if figures},
        "ratios": ratios(found),
        "problems": problems,
    }


def run(name: str, spec: Spec) -> Run:
    """One contender, once."""
    python = str(QUIX) if name == "quix" else sys.executable
    if name == "quix" and not QUIX.exists():
        return Run(None, "quixstreams is not installed: make build/quix")
    command = [python, "-m", "whole.contender", name, spec.to_json()]
    try:
        done = subprocess.run(  # noqa: S603 (its own)
            command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return Run(None, f"no end after {TIMEOUT:.0f} s")
    if done.returncode != 0:
        return Run(None, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return Run(json.loads(done.stdout.strip().splitlines()[-1]))


def medians(figures: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure, and the spread of the CPU time (least to most)."""
    found = {name: round(statistics.median(one[name] for one in figures), 2) for name in figures[0]}
    cpu = [one["cpu_us"] for one in figures]
    return {**found, "cpu_us_least": round(min(cpu), 2), "cpu_us_most": round(max(cpu), 2)}


def ratios(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """How many times our CPU time an event the others take: the median over repeats, each with that repeat's ours."""
    ours = [one["cpu_us"] for one in found["ours"]]
    return {
        name: round(statistics.median(theirs["cpu_us"] / mine for theirs, mine in zip(figures, ours, strict=False)), 3)
        for name, figures in found.items()
        if name != "ours" and figures and ours
    }
