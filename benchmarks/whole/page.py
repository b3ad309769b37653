"""The tables of docs/performance.md, made of a report, between two marks that the page keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whole import budget
from whole.contender import CONTENDERS

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
UNITS = ("CPU µs an event", "wall µs an event", "CPU, times ours", "peak MiB")

# By title, the part of the report, and its columns by key; the first has no key, it is the row's name.
TABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Workers that share a topic": (
        "scaling",
        {"": "workers", "events_per_second": "events/s", "times_one": "times one's", "cpu_us": "CPU µs an event, all"},
    ),
    "Memory by users": (
        "keys",
        {
            "": "users",
            "in_memory": "in memory",
            "state_mib": "their MiB",
            "resident_mib": "process, MiB",
            "peak_mib": "at most, MiB",
            "redis_mib": "Redis, MiB",
            "new_us": "CPU µs an event, all new",
            "back_us": "CPU µs an event, known before",
        },
    ),
    "Alerts by length of their light curve": (
        "history",
        {"": "earlier detections", "ours_us": "CPU µs an alert", "hand_us": "by hand", "ratio": "times ours"},
    ),
}


def tables(report: Mapping[str, Any]) -> str:
    """Markdown of everything in a report."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    lines = [
        f"{machine['cores']} cores, load {machine['load_before']:.1f} before and {machine['load_after']:.1f} after; "
        f"broker: {report['broker']}; Python {machine['python']}, {versions}. Medians of {report['repeats']}.",
        "",
    ]
    if report["quick"]:
        lines += ["**A quick run: few messages, most of which go onto an empty board. Indicative only.**", ""]
    else:
        lines += budget.lines(report)
    for name, one in report["workloads"].items():
        lines += [f"### {name}", "", f"{one['what']}; {one['messages']:,} messages of {one['bytes']:,} bytes.", ""]
        lines += _paths(one) + _stages(one) + _latency(one)
    for title, (part, columns) in TABLES.items():
        lines += _table(title, columns, report.get(part, {}))
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not rows:
        return []
    first, *others = columns.values()
    lines = [f"### {title}", "", f"| {first} | {' | '.join(others)} |", f"|{'---:|' * len(columns)}"]
    for name, figures in rows.items():
        values = " | ".join(_number(figures.get(key)) for key in columns if key)
        lines.append(f"| {int(name):,} | {values} |")
    return [*lines, ""]


def _number(value: float | None) -> str:
    """Nothing for what was not measured."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _paths(one: Mapping[str, Any]) -> list[str]:
    contenders = one.get("contenders", {})
    if not contenders:
        return []
    lines = [f"| | {' | '.join(UNITS)} |", f"|---|{'---:|' * len(UNITS)}"]
    for who, found in contenders.items():
        ratio = one["ratios"].get(who, 1.0)
        numbers = (found["cpu_us"], found["wall_us"], ratio, found.get("peak_mib"))
        lines.append(f"| {CONTENDERS[who]} | " + " | ".join(map(_number, numbers)) + " |")
    lines += [f"| {CONTENDERS[who]} | not run: {problem} | | | |" for who, problem in one["problems"].items()]
    return [*lines, ""]


def _stages(one: Mapping[str, Any]) -> list[str]:
    stages = one.get("stages_us", {})
    if not stages:
        return []
    whole = sum(spent for name, spent in stages.items() if name in one["stage_ratios"])
    lines = ["| stage | CPU µs an event | share |", "|---|---:|---:|"]
    for name, spent in stages.items():
        known = name in one["stage_ratios"]
        label = name if known else f"beside them: {name} reads the same event"
        lines.append(f"| {label} | {spent:,.3g} | {f'{100 * spent / whole:.0f} %' if known else ''} |")
    if "costs" in one:
        batch, event = one["costs"]["batch_us"], one["costs"]["event_us"]
        lines += [
            "",
            f"Where a night's list is full, a batch takes {batch:,.0f} µs and each event in it {event:,.3g} µs.",
        ]
    return [*lines, ""]


def _latency(one: Mapping[str, Any]) -> list[str]:
    rates = one.get("latency", {})
    if not rates:
        return []
    lines = ["| offered, events/s | on the board after, ms: p50 | p99 | p99.9 | events a batch |", f"|{'---:|' * 5}"]
    for rate, late in rates.items():
        if "problem" in late:
            lines.append(f"| {int(rate):,} | {late['problem']} | | | |")
            continue
        batch = late["events"] / late["batches"]
        lines.append(f"| {int(rate):,} | {late['p50_ms']} | {late['p99_ms']} | {late['p999_ms']} | {batch:.0f} |")
    return [*lines, ""]


def rewrite(page: Path, report: Mapping[str, Any]) -> None:
    """Put a report's tables into the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{tables(report)}{END}{after}")


def between(page: Path) -> str:
    """What the page has between the marks."""
    return page.read_text().partition(f"{BEGIN}\n")[2].partition(END)[0]
