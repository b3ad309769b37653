"""What training refuses, because the figures would be about something else than finding anomalies.

- `identical-rows`: test rows that training has seen. The same *record*, that is every field that the stream reads, ids
  and times included: real streams repeat one now and then (a producer that sends at least once), so up to 1 % of the
  test is let pass, but not a single anomaly: a model that remembers those few by heart has a perfect recall. Or the
  same *features*, bit for bit, of another entity, as copies under new ids have: up to 1 % of the test and a tenth of
  its anomalies, as rows of few distinct values coincide. The same features of the same entity are no finding: an
  object whose i-band alert adds nothing to g and r looks as it did a minute ago, and by time entities do recur.
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
from typing import Literal, NamedTuple

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
IDENTICAL_SHARE, COPIED_ANOMALIES = 0.01, 0.1
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


class Rows(NamedTuple):
    """Fingerprints of records and of features (`fingerprints`), and whose they are: uint64[n] each."""

    record: Keys
    features: Keys
    entity: Keys

    def take(self, rows: NDArray[np.int64]) -> "Rows":
        """Some of them."""
        return Rows(*(column[rows] for column in self))


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


def identical_rows(train: Rows, test: Rows, labels: Bools | None = None) -> list[Finding]:
    """Test rows that are training rows. labels bool[n] of the test, if there are any."""
    records = np.isin(test.record, train.record)
    known = np.isin(test.features, train.features)
    own = train.features ^ (train.entity * PRIME)
    only_own = (
        (test.entity != 0)
        & np.isin(test.features ^ (test.entity * PRIME), own)
        & ~np.isin(test.features, _shared(train))
    )
    copies = known & ~only_own & ~records
    anomalous = np.zeros(len(records), np.bool_) if labels is None else labels
    few = IDENTICAL_SHARE * len(records)
    found = []
    for same, what, tolerated in (
        (records, "are identical to training rows", 0.0),
        (copies, "have the features of another entity's training row, bit for bit", COPIED_ANOMALIES * anomalous.sum()),
    ):
        count, anomalies = int(same.sum()), int((same & anomalous).sum())
        if count > few or anomalies > tolerated:
            problem = f"{count:,} of {len(same):,} test rows {what}"
            if labels is not None:
                problem += f", {anomalies:,} of the {int(anomalous.sum()):,} anomalies among them"
            found.append(Finding("identical-rows", problem + ": the test would measure memory"))
    return found


def _shared(rows: Rows) -> Keys:
    """Fingerprints of features that several entities have."""
    pairs = np.unique(np.column_stack([rows.features, rows.entity]), axis=0)
    features, entities = np.unique(pairs[:, 0], return_counts=True)
    return np.asarray(features[entities > 1], np.uint64)


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
