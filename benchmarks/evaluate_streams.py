"""How well ensembles find anomalies on streams, and at what rate thresholds alarm: benchmarks/PROTOCOL.md says how.

    python benchmarks/evaluate_streams.py report        # the default ensemble, once, on the reporting seeds
    python benchmarks/evaluate_streams.py choose        # every candidate on the choosing seeds
    python benchmarks/evaluate_streams.py development   # the default on public sets; needs ../shared

The last line is one JSON object.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from itertools import chain, combinations

import numpy as np
from scipy.stats import t as student

from skimstream.scoring.train import Options
from streams import EVIDENCE, PUBLIC, stream
from streams.parts import HALFSPACE, RIVER, Run, streamed

CHOOSE, REPORT, MODELS = (*range(101, 106), *range(201, 206)), range(301, 306), range(1, 4)
SINGLES = ("frozen", "online", "sliding", "ecdf")
#: figures[method][stream] = one (AUC, AP) a seed
Figures = dict[str, dict[str, list[tuple[float, float]]]]


def candidates() -> dict[str, tuple[str, ...]]:
    """Every subset of the parts, and every option of half-space trees where they are in it."""
    subsets = chain.from_iterable(combinations(SINGLES, size) for size in range(1, 5))
    found = {}
    for subset in subsets:
        for option in HALFSPACE if "online" in subset else ("online",):
            parts = tuple(option if part == "online" else part for part in subset)
            found[" + ".join(parts)] = parts
    return found


def choose(names: Sequence[str], seeds: Sequence[int]) -> Figures:
    """Every candidate, and River's default."""
    figures: Figures = {}
    for name in names:
        for seed in seeds:
            run = Run(stream(name, seed), seed, tuple(HALFSPACE))
            for method, parts in candidates().items():
                value = run.raw[parts[0]] if len(parts) == 1 else run.combined(parts)
                figures.setdefault(method, {}).setdefault(name, []).append(run.judged(value))
            figures.setdefault("River's default", {}).setdefault(name, []).append(run.judged(run.raw[RIVER]))
            print(f"{name} {seed}", flush=True)
    return figures


def report(names: Sequence[str], seeds: Sequence[int]) -> tuple[Figures, dict[str, float]]:
    """The default ensemble as the worker runs it, its percentile, every single part, and River's default."""
    figures: Figures = {}
    rates = {}
    for name in names:
        for seed in seeds:
            one = stream(name, seed)
            run, real = Run(one, seed), streamed(one, Options(seed=seed))
            chosen = tuple(part for part in SINGLES if part in Options().parts)
            again = run.combined(chosen)[run.prefix :]
            assert np.array_equal(real["combined"][run.kept][run.prefix :], again, equal_nan=True), (
                "parts make the whole"
            )
            rates[f"{name} {seed}"] = (len(one.matrix) - one.prefix) / float(real["seconds"])
            values = {"default": real["combined"][run.kept], "its percentile": real["score"][run.kept]}
            values |= {part: run.raw[part] for part in SINGLES} | {"River's default": run.raw[RIVER]}
            for method, value in values.items():
                figures.setdefault(method, {}).setdefault(name, []).append(run.judged(value))
            print(f"{name} {seed}", flush=True)
    return figures, rates


def interval(values: Sequence[float]) -> str:
    """Mean and the half width of its 95 % interval over the seeds (Student's t)."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f}±{half:.3f}"


def means(per_stream: dict[str, list[tuple[float, float]]]) -> tuple[float, float]:
    """Mean AUC and AP over the streams of the means over their seeds."""
    auc, ap = np.mean([np.mean(pairs, axis=0) for pairs in per_stream.values()], axis=0).tolist()
    return auc, ap


def table(figures: Figures, text: Callable[[Sequence[float]], str]) -> None:
    """One line a method, best first: means over the streams, then AUC / AP of each stream, as Markdown."""
    names = list(next(iter(figures.values())))
    print("\n| method | mean |", " | ".join(names), "|\n|---|---|" + "---|" * len(names))
    for method, per_stream in sorted(figures.items(), key=lambda item: -sum(means(item[1]))):
        cells = [" / ".join(text(column) for column in zip(*per_stream[name], strict=True)) for name in names]
        print(f"| {method} | {' / '.join(f'{value:.3f}' for value in means(per_stream))} |", " | ".join(cells), "|")


def main() -> None:
    """Run one half, print its table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", choices=["choose", "report", "development"])
    parser.add_argument("--streams", nargs="+", choices=[*EVIDENCE, *PUBLIC])
    half, names = (arguments := parser.parse_args()).half, arguments.streams
    rates: dict[str, float] = {}
    if half == "choose":
        figures = choose(names or EVIDENCE, CHOOSE)
        table(figures, lambda values: f"{np.mean(values):.3f}")
    else:
        figures, rates = report(names or EVIDENCE, REPORT) if half == "report" else report(names or PUBLIC, MODELS)
        table(figures, interval)
        print(f"\nevents/s of score_learn on one core: median {np.median(list(rates.values())):,.0f}")
    summary = {method: [round(value, 4) for value in means(per_stream)] for method, per_stream in figures.items()}
    print(json.dumps({half: summary, "rates": {k: round(v) for k, v in rates.items()}, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
