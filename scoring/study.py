"""Training as it is reported: refuse what would mislead, search, measure on rows held back, then train for good.

Three parts of the rows, in order of time or by entity (`split`):

    fit ──▶ a first model ──scores──▶ validation: the threshold is chosen here
    fit + validation = training ──▶ the measured model ──scores──▶ test: everything reported is measured here, once
    training + test ──▶ the model that is kept (or, if asked, the measured one itself)

A measured model goes on as a worker would: its online parts live through training and then meet the test in order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .held_out import Measured, measure, number
from .model import Model
from .recipe import Examples, Progress, Recipe, silent
from .refusals import Finding, Rows, fingerprints, id_like, identical_rows, label_derived, refuse
from .rules import broken_rules, rule_columns
from .split import Split, SplitError
from .train import FEWEST_ROWS, train

Ints = NDArray[np.int64]

OTHER_MODEL = "the same recipe, trained on the training rows alone; this bundle has learned the test rows, too"


@dataclass(frozen=True, slots=True)
class Study:
    """A trained model, and how it was come by."""

    model: Model
    measured: Measured | None
    overridden: tuple[Finding, ...]
    found: Any | None  # `search.Found`; its module imports scikit-learn


def enough(examples: Examples, split: Split) -> bool:
    """Whether there are rows enough to measure: the fitted part alone must make a model."""
    kept = broken_rules(examples.matrix, rule_columns(examples.features)) == 0
    return int(kept[split.inner().train].sum()) >= FEWEST_ROWS


def study(
    examples: Examples,
    split: Split | None,
    recipe: Recipe | None = None,
    source: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Study:
    """Train a model and measure it; without a split it is trained on everything and nothing is measured.

    Raises `TrainingRefused`, `NothingToChooseBy`, and `ModelError` for too few rows or labels of one kind only.
    """
    recipe = recipe or Recipe()
    if split is not None and recipe.forest == "random":
        _require_both_kinds(examples, split)
    overridden = refuse(_findings(examples, split), recipe.allow)
    options, found = recipe.options, None
    if recipe.search:
        found = _search(examples, split, recipe, progress)
        options = replace(options, tuned=found.parameters)

    def trained(rows: Ints) -> Model:
        labels = examples.labels_of(rows) if recipe.forest == "random" else None
        names = (examples.stream, examples.features, examples.units)
        return train(*names, examples.matrix[rows], labels, options, source)

    everything = np.arange(len(examples.matrix), dtype=np.int64)
    if split is None:
        model, measured = trained(everything), None
    else:
        model, measured = measure(examples, split, recipe, trained, progress)
        if recipe.final == "all":
            model = trained(everything)
    return Study(_noted(model, measured, overridden, found, recipe), measured, overridden, found)


def _findings(examples: Examples, split: Split | None) -> Iterator[Finding]:
    rows = split.train if split else np.arange(len(examples.matrix), dtype=np.int64)
    if split:
        everyone = Rows(examples.record, fingerprints(examples.matrix.T, len(examples.matrix)), examples.entity)
        test = examples.labels_of(split.test)
        yield from identical_rows(everyone.take(split.train), everyone.take(split.test), test)
    yield from id_like(examples.features, examples.matrix[rows])
    if (labels := examples.labels_of(rows)) is not None:
        yield from label_derived(examples.features, examples.matrix[rows], labels)


def _require_both_kinds(examples: Examples, split: Split) -> None:
    """A classifier needs anomalies and ordinary rows in what it is first fitted to."""
    labels = examples.labels_of(split.inner().train)
    if examples.labels is None or labels is None or (labels.any() and not labels.all()):
        return
    raise SplitError(
        f"of {int(examples.labels.sum()):,} anomalies in {len(examples.labels):,} rows {int(labels.sum()):,} are among "
        f"the {len(labels):,} rows to fit, and both kinds are needed there: more rows, another --split, or "
        "--forest isolation, which needs no labels"
    )


def _search(examples: Examples, split: Split | None, recipe: Recipe, progress: Progress) -> Any:
    from .search import search

    if split is None:
        raise ModelError("a search needs rows held back, or nobody knows what its choice is worth", where="search")
    matrix, labels = examples.matrix[split.train], examples.labels_of(split.train)
    kept = broken_rules(matrix, rule_columns(examples.features)) == 0  # as `train` does
    inside = replace(split, train=split.train[kept])
    with progress("searching", recipe.search * recipe.folds) as done:
        chosen = None if labels is None else labels[kept]
        folds = inside.folds(recipe.folds) if chosen is not None else []
        return search(recipe.forest, matrix[kept], chosen, folds, recipe.search, recipe.options.seed, done)


def _noted(
    model: Model, measured: Measured | None, overridden: Sequence[Finding], found: Any | None, recipe: Recipe
) -> Model:
    """The model whose manifest says what was measured, how it was split, and what was overridden."""
    training: dict[str, Any] = {**model.training, "overridden": {one.name: one.problem for one in overridden}}
    if found is not None:
        from .search import SCORING

        best = found.trials[0]
        score = {"mean": number(best.mean), "deviation": number(best.deviation)}
        training["search"] = {"tried": len(found.trials), "folds": found.folds, "scoring": SCORING, "best": score}
    if measured is None:
        return replace(model, training={**training, "split": None})
    test: dict[str, Any] = {
        "of": "this model" if recipe.final == "train" else OTHER_MODEL,
        "rows": len(measured.split.test),
        "alarms_above": {f"{1 - nominal:.3g}": number(realised) for nominal, realised in measured.alarms},
    }
    if measured.labels is not None and (main := measured.main) is not None:
        test |= {
            "anomalies": int(measured.labels.sum()),
            "decides_on": measured.decides_on,
            "threshold": number(main.threshold),
            "threshold_chosen_by": main.chosen,
            **main.as_json(),
            "intervals": "95 %, bootstrap over whole entities",
        }
    return replace(
        model,
        training={**training, "split": measured.split.describe(), "learned": recipe.final},
        metrics={**model.metrics, "test": test},
    )
