"""Card frauds of the Fraud Detection Handbook's simulation, as a stream that a TOML file alone defines (fdh.toml).

    python benchmarks/evaluate_fdh.py [--seeds 1]

All transactions of ten weeks go through the stream once, in order. The published protocol: train on a week, wait seven
days, test on the week after, without customers who were known to be defrauded. Published, on that week, the best of
each column: AUC .871, AP .658, card precision at 100 .291. Three earlier weeks are reported beside it, and what one
reaches who knows how the frauds were made (fdh_ceiling.py). The data comes from ../shared/data/behaviour; its README
says what it is.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fdh_ceiling as ceiling
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.consumer.streams.base import Stream
from skimstream.schemas.gather import gather
from skimstream.scoring.measure import Judge
from skimstream.scoring.train import Options, train

HERE = Path(__file__).resolve().parent
FILES = HERE.parents[1] / "shared" / "data" / "behaviour"
EPOCH = date(2018, 4, 1)
DAY = 86_400
DELAY = 7  # days until a label is known
TRAINED_ON = (date(2018, 7, 25), date(2018, 7, 18), date(2018, 7, 11), date(2018, 7, 4))  # the published week first
COUNTS = {"train": 67_240, "test": 58_264, "frauds": 385}  # of the published weeks
GOALS = {"auc": 0.870, "ap": 0.69, "card_precision_100": 0.295}
TOP = 100
AT_ONCE = 20_000
# Chosen without the published week. Settings: of four that were tried with 60 trees on the week tested on 08-01, the
# one of the highest AP. Groups of features: on the weeks tested from 07-02 and 07-10, before all that are reported;
# excess and streak raised the mean of both from AUC .887, AP .651 to .896, .697 (on a third of the ordinary rows).
OPTIONS = Options(trees=100, tuned={"min_samples_leaf": 5, "max_features": 0.2}, parts=("frozen", "online"))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def scenarios() -> Ints:
    """Of each transaction, by which of the generator's scenarios it is a fraud; 0 = none."""
    parts = []
    for file in sorted(FILES.glob("fdh_simulated_tx_*.npz")):
        with np.load(file) as data:
            parts.append(data["scenario"].astype(np.int64))
    return np.concatenate(parts)


class Transactions(NamedTuple):
    """In order of time; `seconds` since EPOCH."""

    seconds: Ints
    customer: Ints
    terminal: Ints
    cents: Ints
    fraud: NDArray[np.bool_]

    @property
    def day(self) -> Ints:
        """Days since EPOCH."""
        return self.seconds // DAY


def transactions() -> Transactions:
    """All of both files."""
    parts = []
    for file in sorted(FILES.glob("fdh_simulated_tx_*.npz")):
        with np.load(file) as data:
            seconds = int(data["t0"]) + np.cumsum(data["dt"].astype(np.int64))
            columns = [data[name].astype(np.int64) for name in ("customer", "terminal", "cents")]
            parts.append((seconds, *columns, data["scenario"] > 0))
    return Transactions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def records(of: Transactions) -> Iterator[list[dict[str, Any]]]:
    """The stream's records, AT_ONCE at a time: transactions, and the label of each when it is known."""
    began = (EPOCH - date(1970, 1, 1)).days * DAY
    known = of.seconds + DELAY * DAY
    rows = np.concatenate([np.arange(len(known))] * 2)
    label = np.repeat([False, True], len(known))
    order = np.lexsort((rows, ~label, np.concatenate([of.seconds, known])))
    for start in range(0, len(order), AT_ONCE):
        some = order[start : start + AT_ONCE]
        yield [
            {
                "number": row,
                "customer": int(of.customer[row]),
                "terminal": int(of.terminal[row]),
                "when": began + int(known[row] if is_label else of.seconds[row]),
                "paid": began + int(of.seconds[row]),
                "amount": float(of.cents[row]) / 100,
                "fraud": float(of.fraud[row]) if is_label else None,
            }
            for row, is_label in zip(rows[some].tolist(), label[some].tolist(), strict=True)
        ]


def features(stream: Stream, of: Transactions) -> Floats:
    """float64[n, f] of all transactions, in one pass through a partition's state, as a worker makes them."""
    state, found = stream.open(), []
    place = np.full(len(of.seconds), -1)
    at = 0
    for some in records(of):
        columns = gather(some, stream.wanted)
        assert not stream.check(columns)
        made = state.features(columns)
        numbers = np.array([one["number"] for one in some])[made.rows]
        place[numbers] = at + np.arange(len(numbers))
        at += len(numbers)
        found.append(made.matrix)
    assert (place >= 0).all()
    return np.asarray(np.concatenate(found)[place], np.float64)


def weeks(of: Transactions, first: date) -> tuple[Ints, Ints]:
    """The rows to train on and to test on, by the handbook's rules."""
    start = (first - EPOCH).days
    training = np.flatnonzero((of.day >= start) & (of.day < start + 7))
    known = set(of.customer[training][of.fraud[training]].tolist())
    kept = []
    for day in range(start + 14, start + 21):
        if day > start + 14:  # the day of which the labels have just become known
            late = (of.day == day - DELAY - 1) & of.fraud
            known |= set(of.customer[late].tolist())
        rows = np.flatnonzero(of.day == day)
        kept.append(rows[~np.isin(of.customer[rows], list(known))])
    return training, np.concatenate(kept)


def card_precision(of: Transactions, rows: Ints, score: Floats) -> float:
    """Of the 100 most suspicious cards of each day, those found on an earlier day left out, the share with a fraud."""
    found, shares = set[int](), []
    for day in np.unique(of.day[rows]).tolist():
        today = (of.day[rows] == day) & ~np.isin(of.customer[rows], list(found))
        cards, inverse = np.unique(of.customer[rows][today], return_inverse=True)
        highest, defrauded = np.full(len(cards), -np.inf), np.zeros(len(cards), np.bool_)
        np.maximum.at(highest, inverse, score[today])
        np.logical_or.at(defrauded, inverse, of.fraud[rows][today])
        top = np.argsort(-highest, kind="stable")[:TOP]
        shares.append(defrauded[top].sum() / TOP)
        found |= set(cards[top][defrauded[top]].tolist())
    return float(np.mean(shares))


def figures(
    stream: "Stream | Partial", matrix: Floats, of: Transactions, first: date, options: Options = OPTIONS
) -> dict[str, Any]:
    """What a model trained on the week from `first` on reaches on the week two weeks later."""
    training, test = weeks(of, first)
    model = train(stream.name, stream.features, stream.units, matrix[training], of.fraud[training], options)
    score = model.forest.anomaly(model.reference.fill(matrix[test])[0])
    curve = Judge(of.fraud[test], score).curve()
    return {
        "rows": len(test),
        "frauds": int(of.fraud[test].sum()),
        "train_rows": len(training),
        "auc": round(curve.roc_auc, 4),
        "ap": round(curve.average_precision, 4),
        "card_precision_100": round(card_precision(of, test, score), 4),
    }


def limits(of: Transactions, scenario: Ints, first: date) -> dict[str, Any]:
    """What one reaches on that week who knows how frauds were made, and how much of an AUC is chance."""
    _, test = weeks(of, first)
    score = ceiling.oracle(of.seconds, of.customer, of.terminal, of.cents, scenario)[test]
    unseen = ceiling.hidden(of.seconds, of.terminal, scenario)[test]
    every = np.where(scenario[test] == 3, 4.0, score)
    return {
        "auc": round(ceiling.auc(of.fraud[test], score), 4),
        "auc_if_every_card_were_known": round(ceiling.auc(of.fraud[test], every), 4),
        "hidden": int(unseen.sum()),
        "auc_by_chance": round(ceiling.chance(of.fraud[test], unseen), 4),
    }


def main() -> None:
    """Print a table, and the figures as JSON last."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1, help="of the forest, on the published week")
    arguments = parser.parse_args()
    if not sorted(FILES.glob("fdh_simulated_tx_*.npz")):
        print(json.dumps({"skipped": "needs ../shared/data/behaviour/fdh_simulated_tx_*.npz"}))
        return
    stream = configured_stream(load_settings(HERE / "fdh.toml", {}))
    of = transactions()
    matrix = features(stream, of)
    print(f"{len(of.seconds):,} transactions, {len(stream.features)} features")
    unlabelled = [i for i, name in enumerate(stream.features) if "risk" not in name and "labels" not in name]
    alone = matrix[:, unlabelled]
    less = Partial(
        stream.name, tuple(stream.features[i] for i in unlabelled), tuple(stream.units[i] for i in unlabelled)
    )
    without = figures(less, alone, of, TRAINED_ON[0])
    print(f"the published week without delayed labels: {without}")
    found, limit, scenario = {}, {}, scenarios()
    for first in TRAINED_ON:
        tested = first + timedelta(days=14)
        found[tested.isoformat()] = one = figures(stream, matrix, of, first)
        print(f"trained on {first}, tested on {tested}: {one}", flush=True)
        limit[tested.isoformat()] = most = limits(of, scenario, first)
        print(f"  one who knows the generator: {most}", flush=True)
    published = found[(TRAINED_ON[0] + timedelta(days=14)).isoformat()]
    assert {"train": published["train_rows"], "test": published["rows"], "frauds": published["frauds"]} == COUNTS
    seeds = [
        figures(stream, matrix, of, TRAINED_ON[0], replace(OPTIONS, seed=43 + seed))
        for seed in range(arguments.seeds - 1)
    ]
    met = {name: published[name] >= goal for name, goal in GOALS.items()}
    print(
        json.dumps(
            {"weeks": found, "without_labels": without, "seeds": seeds, "limits": limit, "goals": GOALS, "met": met}
        )
    )


class Partial(NamedTuple):
    """What `figures` needs of a stream with fewer features."""

    name: str
    features: tuple[str, ...]
    units: tuple[str, ...]


if __name__ == "__main__":
    main()
