"""A study for people: one HTML file that holds all it shows (no scripts, nothing loaded), and the comparison as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .held_out import Contender, Measured
from .measure import FIGURES, Judge, Reliability, bootstrap
from .probability import brier, expected_calibration_error
from .study import OTHER_MODEL, Study
from .svg import Series, plot

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

ROWS_OF_THRESHOLDS = 12
TABLE_RESAMPLES = 200  # for each of twelve thresholds
NAMES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "f1": "F1",
    "false_positive_rate": "false positive rate",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
small { color: #666 } .warn { border-left: 4px solid #d55e00; padding-left: 1rem }
figure { display: inline-block; margin: 0; vertical-align: top }
"""


def comparison_csv(measured: Measured) -> str:
    """One line a detector: its threshold, `FIGURES` with 95 % intervals, and the confusion matrix, all on the test."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    intervals = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")]
    counts = ["true_positives", "false_positives", "false_negatives", "true_negatives"]
    writer.writerow(["model", "detail", "threshold", *intervals, *counts])
    for one in measured.contenders:
        values = np.column_stack([one.figures, one.low, one.high]).ravel()
        figures = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
        writer.writerow([one.name, one.detail, f"{one.threshold:.6g}", *figures, *(int(c) for c in one.confusion)])
    return out.getvalue()


def report_html(study: Study) -> str:
    """The whole report. Its figures are those of the test, which nothing was chosen on."""
    model, measured = study.model, study.measured
    training = model.training
    facts = [
        ("model", model.id),
        ("stream", model.stream),
        ("features", str(len(model.features))),
        ("rows learned", f"{training['rows']:,}"),
        ("forest", ", ".join(f"{key} {value}" for key, value in training["forest"].items() if key != "tuned")),
        ("source", ", ".join(map(str, training.get("source", [])))),
        ("nights", " to ".join(training.get("nights", []))),
    ]
    parts = [f"<h1>{escape(model.stream)}: how model {escape(model.id)} was trained</h1>", _overridden(study)]
    parts.append(_table((), facts))
    if measured is None:
        parts.append("<p class=warn>No rows were held back, so nothing was measured.</p>")
    else:
        parts += [_split(study, measured), *_measured(study, measured)]
    parts += _search(study)
    body = "\n".join(part for part in parts if part)
    title = f"{escape(model.stream)} {escape(model.id)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _overridden(study: Study) -> str:
    if not study.overridden:
        return ""
    said = "".join(f"<li><code>{escape(one.name)}</code>: {escape(one.problem)}</li>" for one in study.overridden)
    warning = "These refusals were overridden; read every figure below with that in mind."
    return f"<div class=warn><p>{warning}</p><ul>{said}</ul></div>"


def _split(study: Study, measured: Measured) -> str:
    split = measured.split
    how = {
        "time": "the latest rows are the test",
        "grouped": "whole entities are the test, none is on both sides",
        "given": "the test came in files of its own",
    }[split.kind]
    of = "this model" if study.model.metrics["test"]["of"] != OTHER_MODEL else OTHER_MODEL
    count, auc = measured.new_entities
    new = f"; on them the ROC AUC is {auc:.4f}" if np.isfinite(auc) else ""
    return (
        f"<h2>What was measured</h2><p>Split by <b>{split.kind}</b>: {how}. {len(split.train):,} rows train, "
        f"{len(split.test):,} test. {split.straddling:,} entities have rows on both sides; {count:,} test rows are "
        f"of entities that training never saw{new}.</p><p>The figures are of {escape(of)}. Thresholds are chosen on "
        "validation rows, split off the training rows in the same way; the test chose nothing. Intervals are 95 %, "
        "from resampling whole entities; one without width, at 0 or 1, says only that nothing else was seen: none of n "
        "rows is compatible with 3/n of them.</p>"
    )


def _measured(study: Study, measured: Measured) -> list[str]:
    alarms = _table(
        ("score above", "nominal share", "realised share"),
        [(f"{1 - nominal:.3g}", f"{nominal:.3g}", f"{realised:.4g}") for nominal, realised in measured.alarms],
    )
    parts = ["<h2>Alarms</h2>", alarms]
    main = measured.main
    if main is None or measured.labels is None:
        return [*parts, "<p>There are no labels, so nothing is known about how many alarms are right.</p>"]
    judge = Judge(measured.labels, main.scores)
    return [
        *_figures(main, judge, measured),
        *_thresholds(main, judge, measured),
        *_curves(measured),
        *_calibration(measured),
        *parts,
        *_comparison(measured),
    ]


def _figures(main: Contender, judge: Judge, measured: Measured) -> list[str]:
    known = [
        (NAMES.get(name, name), _value(value), _interval(low, high))
        for name, value, low, high in zip(FIGURES, main.figures, main.low, main.high, strict=True)
        if name != "accuracy"
    ]
    low, high = bootstrap(lambda weights: np.array(judge.confusion(main.threshold, weights)), measured.groups)
    hits, false_alarms, missed, right = (
        f"{count:.0f} <small>{least:.0f} to {most:.0f}</small>"
        for count, least, most in zip(main.confusion, low, high, strict=True)
    )
    confusion = [("anomaly", hits, missed), ("ordinary", false_alarms, right)]
    decided = measured.decides_on.replace("_", " ")
    return [
        f"<h2>{escape(main.name)}</h2><p>It decides on its {decided}: an anomaly is what lies above "
        f"{main.threshold:.6g} ({escape(main.chosen)}).</p>",
        _table(("", "test", "95 % interval"), known),
        _table(("", "called anomaly", "called ordinary"), confusion, safe=True),
    ]


def _thresholds(main: Contender, judge: Judge, measured: Measured) -> list[str]:
    scores = np.unique(np.quantile(main.scores, 1 - np.geomspace(0.5, 0.0005, ROWS_OF_THRESHOLDS)))

    def rates(weights: Floats) -> Floats:
        at = [judge.confusion(float(one), weights) for one in scores]
        return np.array([(one.precision, one.recall, one.f1, one.false_positive_rate) for one in at]).ravel()

    low, high = bootstrap(rates, measured.groups, TABLE_RESAMPLES)
    values = rates(np.ones(len(main.scores)))
    rows = []
    for place, threshold in enumerate(scores):
        cells = range(4 * place, 4 * place + 4)
        alarms = judge.confusion(float(threshold))
        count = f"{alarms.true_positives + alarms.false_positives:.0f}"
        both = [f"{_value(values[c])} <small>{_interval(low[c], high[c])}</small>" for c in cells]
        rows.append((f"{threshold:.6g}", count, *both))
    head = ("threshold", "alarms", "precision", "recall", "F1", "false positive rate")
    note = "<p>For choosing another threshold by what alarms cost. Whoever chooses here has chosen on the test.</p>"
    return ["<h2>Thresholds</h2>", note, _table(head, rows, safe=True)]


def _curves(measured: Measured) -> list[str]:
    roc, precision = [], []
    for one in measured.contenders:
        if measured.labels is None or one.scores.min() == one.scores.max():
            continue
        curve = Judge(measured.labels, one.scores).curve()
        found, false = curve.true_positives, curve.false_positives
        recall = np.concatenate([[0.0], found / max(found[-1], 1)])
        roc.append(Series(one.name, np.concatenate([[0.0], false / max(false[-1], 1)]), recall))
        precision.append(Series(one.name, recall[1:], found / (found + false)))
    drawn = [
        plot("ROC curve", "false positive rate", "recall", roc, diagonal=True),
        plot("precision and recall", "recall", "precision", precision),
    ]
    return ["<h2>Curves</h2>", *(f"<figure>{one}</figure>" for one in drawn)]


def _calibration(measured: Measured) -> list[str]:
    """Of probabilities where the model has them, else of votes; an isolation forest's percentile is neither."""
    if measured.labels is None:
        return []
    labels, groups = measured.labels, measured.groups
    kinds: list[tuple[str, Floats | None]] = [
        ("calibrated probability", measured.probability),
        ("share of votes", measured.votes),
        ("score (a percentile)", measured.score if measured.votes is None else None),
    ]
    series, rows = [], []
    for name, values in kinds:
        if values is None:
            continue
        curve = Reliability.of(labels, np.clip(values, 0, 1), groups)
        series.append(Series(name, curve.predicted, curve.observed, "dots", curve.low, curve.high))
        rows.append((name, *(("–", "–") if "percentile" in name else _errors(values, labels, groups))))
    rows.append(("the base rate, everywhere", *_errors(np.full(len(labels), labels.mean()), labels, groups)))
    note = {
        True: "A share of votes is no probability unless its dots lie on the diagonal.",
        False: "A score is a percentile, not a probability: its dots need not lie on the diagonal.",
    }[measured.votes is not None]
    drawn = plot("calibration", "said", "share of anomalies", series, diagonal=True)
    head = ("", "Brier score", "expected calibration error")
    return ["<h2>Calibration</h2>", f"<p>{note}</p><figure>{drawn}</figure>", _table(head, rows, safe=True)]


def _errors(probability: Floats, labels: Bools, groups: Ints) -> tuple[str, str]:
    """Brier score and expected calibration error, each with its interval, as HTML."""

    def both(weights: Floats) -> Floats:
        errors = (brier, expected_calibration_error)
        return np.array([error(probability, labels, weights) for error in errors])

    low, high = bootstrap(both, groups)
    found = both(np.ones(len(labels)))
    said = (f"{_value(f)} <small>{_interval(a, b)}</small>" for f, a, b in zip(found, low, high, strict=True))
    return next(said), next(said)


def _comparison(measured: Measured) -> list[str]:
    head = ("model", "detail", *(NAMES.get(name, name) for name in FIGURES))
    rows = [
        (
            escape(one.name),
            escape(one.detail),
            *(
                f"{_value(value)} <small>{_interval(low, high)}</small>"
                for value, low, high in zip(one.figures, one.low, one.high, strict=True)
            ),
        )
        for one in measured.contenders
    ]
    note = "<p>Accuracy is here to be compared with “all normal”, which finds nothing.</p>"
    return ["<h2>Comparison</h2>", note, _table(head, rows, safe=True)]


def _search(study: Study) -> list[str]:
    if study.found is None:
        return []
    names = list(study.found.parameters)
    rows = [
        (f"{trial.mean:.4f}", f"{trial.deviation:.4f}", *(str(trial.parameters[name]) for name in names))
        for trial in study.found.trials[:20]
    ]
    head = ("average precision", "deviation", *names)
    offset = "<p>contamination moves scikit-learn's own offset and no score; nothing of it reaches the bundle.</p>"
    said = f"{len(study.found.trials)} candidates, mean of {study.found.folds} folds within training."
    return [
        f"<h2>Search</h2><p>{said}</p>",
        offset if "contamination" in names else "",
        _table(head, rows),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], safe: bool = False) -> str:
    """A table of texts; `safe` cells are HTML already."""
    cell = str if safe else (lambda text: escape(str(text)))
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if head else ''}\n{body}\n</table>"


def _value(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "–"


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}" if np.isfinite(low) and np.isfinite(high) else "–"
