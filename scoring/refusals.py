"""What training refuses, because the figures would be about something else than finding anomalies.

- `identical-rows`: test rows that training has seen. A row is *the same* if its record is (every field that the stream
  reads, ids and times included) or if its features are, bit for bit. Real streams repeat a record now and then (a
  producer that sends at least once), so up to 1 % of the test is let pass; a single *anomaly* that recurs is not: there
  are few of them, and a model that remembers them by heart has a perfect recall.
- `id-like`: features that name a row instead of describing it: called `…_id`, or whole numbers of which 95 % differ
  and that only ever count up, or fill their range as ordinal codes do, or are beyond 2³¹ as hashes and times are.
- `label-derived`: features that alone tell anomalies from the rest with an AUC above 0.99. No measurement does; a
  column made from the label, or after somebody knew it, does.

There is no refusal for "encoders fitted on test": features are computed in order, each from the rows before it, and
what stands in for missing values is fitted on training rows alone.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .measure import Judge
from .rules import PREFIX as RULE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]
Refusal = Literal["identical-rows", "id-like", "label-derived"]

REFUSALS: tuple[Refusal, ...] = ("identical-rows", "id-like", "label-derived")
IDENTICAL_SHARE = 0.01
LABEL_AUC = 0.99
# Few anomalies may stand on top of a column by chance: 5 of them in one of 190 million (2 x 0.05^5 / 5!), 2 in 2,500.
FEWEST_ANOMALIES = 5
DISTINCT_SHARE, RISING_SHARE = 0.95, 0.95
HASH_LIKE = 2.0**31
FEWEST_ROWS = 100
ID_NAME = re.compile(r"(^|_)(id|uuid|guid)$|[a-z](Id|ID)$")

# FNV-1a's numbers (draft-eastlake-fnv), eight bytes at a time.
BASIS, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the training data: which refusal, which feature (if it is one), and a sentence."""

    refusal: Refusal
    problem: str
    feature: str | None = None

    @property
    def name(self) -> str:
        """What allows it: `label-derived:amount`."""
        return self.refusal if self.feature is None else f"{self.refusal}:{self.feature}"


class TrainingRefused(ModelError):
    """The data would give figures that mean nothing; `findings` say why, all of them.

    >>> raise TrainingRefused([Finding("id-like", "is called like an id", "user_id")])
    Traceback (most recent call last):
    skimstream.scoring.refusals.TrainingRefused: training is refused: user_id is called like an id; \
mend the data, or say --allow id-like:user_id, and the bundle will say so too
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        said = "; ".join(f"{one.feature} {one.problem}" if one.feature else one.problem for one in findings)
        flags = " ".join(f"--allow {one.name}" for one in findings)
        super().__init__(f"training is refused: {said}; mend the data, or say {flags}, and the bundle will say so too")
        self.findings = tuple(findings)


def refuse(findings: Iterable[Finding], allowed: Iterable[str] = ()) -> tuple[Finding, ...]:
    """The findings that `allowed` overrides (`id-like`, or `id-like:user_id` for one feature); raises for others."""
    allowed = frozenset(allowed)
    for name in allowed:
        if name.partition(":")[0] not in REFUSALS:
            raise ModelError(f"{name!r} is no refusal; there are {', '.join(REFUSALS)}", where="allow")
    found = tuple(findings)
    if standing := [one for one in found if not allowed & {one.refusal, one.name}]:
        raise TrainingRefused(standing)
    return found


def identical_rows(train: Sequence[Keys], test: Sequence[Keys], labels: Bools | None = None) -> list[Finding]:
    """Test rows that are in training by any of several fingerprints, uint64[n] each: of the record, of the features.

    labels bool[n] of the test, if there are any.
    """
    same = np.zeros(len(test[0]), np.bool_)
    for known, asked in zip(train, test, strict=True):
        same |= np.isin(asked, known)
    count, anomalies = int(same.sum()), 0 if labels is None else int((same & labels).sum())
    if not anomalies and count <= IDENTICAL_SHARE * len(same):
        return []
    problem = f"{count:,} of {len(same):,} test rows are identical to training rows"
    if anomalies:
        problem += f", {anomalies:,} of the {int(labels.sum() if labels is not None else 0):,} anomalies among them"
    return [Finding("identical-rows", problem + ": the test would measure memory")]


def id_like(features: Sequence[str], matrix: Floats) -> list[Finding]:
    """Features, columns of float64[n, f] in order of time, that name a row."""
    found = []
    for name, column in zip(features, matrix.T, strict=True):
        known = column[np.isfinite(column)]
        if ID_NAME.search(name):
            found.append(Finding("id-like", "is called like an id", name))
        elif len(known) >= FEWEST_ROWS and (known == np.floor(known)).all():
            distinct = len(np.unique(known))
            if distinct < DISTINCT_SHARE * len(known):
                continue
            span, steps = known.max() - known.min() + 1, np.diff(known)
            rising = max((steps > 0).mean(), (steps < 0).mean())
            if rising >= RISING_SHARE or span <= 2 * distinct or np.median(np.abs(known)) > HASH_LIKE:
                share = distinct / len(known)
                found.append(Finding("id-like", f"has whole numbers of which {share:.0%} differ, like an id", name))
    return found


def label_derived(features: Sequence[str], matrix: Floats, labels: Bools) -> list[Finding]:
    """Features that alone reach an AUC above 0.99, in either direction; being missing counts as a value.

    Rules are left out: what breaks one is no example to a model anyway.
    """
    if min(labels.sum(), (~labels).sum()) < FEWEST_ANOMALIES:
        return []
    found = []
    for name, column in zip(features, matrix.T, strict=True):
        if name.startswith(RULE):
            continue
        auc = alone(column, labels)
        if auc > LABEL_AUC:
            found.append(
                Finding("label-derived", f"alone reaches an AUC of {auc:.4f}, as if made from the label", name)
            )
    return found


def alone(column: Floats, labels: Bools) -> float:
    """The best AUC of one column, float64[n]: high or low values, or missing ones, may be the anomalies.

    >>> alone(np.array([3.0, np.nan, 2.0, np.nan]), np.array([True, False, True, False]))
    1.0
    """
    missing = ~np.isfinite(column)
    lowest = np.where(missing, -np.inf, column)
    aucs = [Judge(labels, one).curve().roc_auc for one in (lowest, np.where(missing, np.inf, column))]
    return max(max(auc, 1 - auc) for auc in aucs)


def fingerprints(columns: Iterable[NDArray[np.generic]], rows: int) -> Keys:
    """uint64[rows]: equal rows of these columns (64 bits each) have equal fingerprints; all NaN are one, 0 is -0."""
    out = np.full(rows, BASIS)
    for column in columns:
        if column.dtype.kind == "f":
            column = np.where(np.isnan(column), np.nan, column) + 0.0
        out = (out ^ np.ascontiguousarray(column).view(np.uint64)) * PRIME
        out ^= out >> np.uint64(32)  # multiplication carries upwards only
    return out
