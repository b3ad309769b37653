"""Figures by labels: against plain counts, and scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from skimstream.scoring.verdict import Judged, order_of, precision_at, verdict


def judged(count: int = 400, seed: int = 2) -> Judged:
    rng = np.random.default_rng(seed)
    anomaly = rng.random(count) < 0.1
    score = np.round(np.clip(rng.random(count) * 0.7 + 0.3 * anomaly, 0, 0.9), 1)  # with ties, most of all at the top
    combined = score + rng.random(count)
    silent = np.where(rng.random(count) < 0.5, np.nan, rng.random(count))
    raw = np.column_stack([combined, silent, np.full(count, np.nan)])
    return Judged(
        anomaly,
        score,
        combined,
        raw,
        ("frozen", "online", "off"),
        rng.integers(0, 40, count),
        rng.integers(0, 4, count),
    )


def test_areas_are_scikit_learns_of_the_boards_order() -> None:
    of = judged()
    found = verdict(of, top=5, thresholds=(0.85,))
    pairs = list(zip(of.score.tolist(), of.combined.tolist(), strict=True))
    listed = sorted(set(pairs))
    places = np.array([float(listed.index(one)) for one in pairs])
    assert (order_of(of.score, of.combined) == places).all()
    assert found["roc_auc"][0] == pytest.approx(roc_auc_score(of.anomaly, places), abs=1e-4)
    assert found["average_precision"][0] == pytest.approx(average_precision_score(of.anomaly, places), abs=1e-4)
    assert found["roc_auc"][1] < found["roc_auc"][0] < found["roc_auc"][2]
    assert (found["events"], found["anomalies"], found["owners"]) == (400, int(of.anomaly.sum()), 40)

    heard = ~np.isnan(of.raw[:, 1])
    parts = found["parts"]
    assert parts["online"]["events"] == heard.sum()
    assert parts["online"]["roc_auc"] == pytest.approx(roc_auc_score(of.anomaly[heard], of.raw[heard, 1]), abs=1e-4)
    assert parts["combined"]["roc_auc"] == parts["frozen"]["roc_auc"] != parts["score"]["roc_auc"]
    assert parts["off"] == {"events": 0, "roc_auc": None, "average_precision": None}


def test_a_night_counts_owners_and_a_threshold_events() -> None:
    of = judged()
    places, shares = order_of(of.score, of.combined), []
    for night in range(4):
        best: dict[int, float] = {}
        odd = set()
        for row in np.flatnonzero(of.night == night).tolist():
            owner = int(of.owner[row])
            best[owner] = max(best.get(owner, -1.0), places[row])
            odd |= {owner} if of.anomaly[row] else set()
        listed = sorted(best, key=lambda one: -best[one])[:5]
        shares.append(len(odd & set(listed)) / 5)
        assert precision_at(of, places, night, 5) == (shares[-1], len(odd & set(listed)))
        assert precision_at(of, places, night, 1_000)[0] == len(odd) / len(best)
    found = verdict(of, top=5, thresholds=(0.85, 2.0))
    assert found["top"]["precision"][0] == pytest.approx(np.mean(shares), abs=1e-4)
    alarm = of.score > 0.85
    (at, never) = found["at"]
    assert at["alarms"] == alarm.sum()
    assert at["precision"][0] == pytest.approx(of.anomaly[alarm].mean(), abs=1e-4)
    assert at["recall"][0] == pytest.approx(alarm[of.anomaly].mean(), abs=1e-4)
    assert at["false_positive_rate"][0] == pytest.approx(alarm[~of.anomaly].mean(), abs=1e-4)
    assert never["precision"] == [None, None, None]
    assert never["recall"] == [0.0, 0.0, 0.0]
