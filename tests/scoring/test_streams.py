"""The default ensemble on a stream that moves and on bursts longer than any window; benchmarks/ measures in earnest."""

import numpy as np
import pytest

from skimstream.scoring.threshold import Threshold
from skimstream.scoring.train import Options
from streams.bursty import LARGEST_SHARE, LONGEST, SHORTEST, bursty
from streams.drifting import BREAK_AT, FEATURES, drifting
from streams.labelled import Labelled
from streams.parts import RIVER, Run, streamed


def aucs(stream: Labelled, seed: int) -> dict[str, float]:
    """ROC-AUC of the default ensemble and of what it is compared with."""
    run, options = Run(stream, seed), Options(seed=seed)
    combined = streamed(stream, options)["combined"]
    np.testing.assert_array_equal(run.combined(options.parts)[run.prefix :], combined[run.kept][run.prefix :])
    values = {"default": combined[run.kept], **{name: run.raw[name] for name in ("frozen", "online", RIVER)}}
    return {name: run.judged(value)[0] for name, value in values.items()}


def test_it_follows_a_stream_that_leaves_the_frozen_forest_behind() -> None:
    found = aucs(drifting(1, 30_000), 1)
    assert found["default"] > 0.85
    assert found["default"] > found["frozen"] + 0.04
    assert found["default"] > found[RIVER] + 0.04


def test_bursts_that_online_parts_learn_stay_odd() -> None:
    found = aucs(bursty(2), 2)
    assert found["default"] > 0.88
    assert found["default"] > max(found["online"], found[RIVER]) + 0.2


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_a_threshold_keeps_its_rate_though_the_stream_moves(rate: float) -> None:
    stream = drifting(3, 20_000).without_anomalies()
    combined = streamed(stream, Options(seed=3))["combined"][stream.prefix :]
    alarms = Threshold.fit(combined[:1_000], rate).alarms(combined[1_000:])
    assert alarms.mean() == pytest.approx(rate, rel=0.1)


def test_streams_are_functions_of_their_seed_and_as_described() -> None:
    for make in (drifting, bursty):
        one, again, other = make(5), make(5), make(6)
        np.testing.assert_array_equal(one.matrix, again.matrix)
        assert not np.array_equal(one.matrix[:, 0], other.matrix[:, 0])
        assert np.isfinite(one.matrix).all()
        assert not one.without_anomalies().anomaly.any()
    drift = drifting(5)
    assert drift.matrix.shape == (40_000, FEATURES)
    assert 0.005 < drift.anomaly.mean() < 0.015
    usual = drift.matrix[~drift.anomaly]
    before, after = (usual[int(len(usual) * at) :][:2_000] for at in (BREAK_AT - 0.06, BREAK_AT + 0.01))
    moved = np.abs(np.median(after, axis=0) - np.median(before, axis=0)) > before.std(axis=0) / 2
    assert moved.sum() >= 3


@pytest.mark.parametrize("seed", range(1, 6))
def test_bursts_come_late_and_are_longer_than_a_window(seed: int) -> None:
    stream = bursty(seed)
    rows = np.flatnonzero(stream.anomaly)
    assert rows[0] > stream.prefix
    assert SHORTEST * 0.9 < len(rows) <= LARGEST_SHARE * len(stream.matrix) * 1.05
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 100) + 1)
    assert all(SHORTEST * 0.9 < len(run) < LONGEST * 1.1 for run in runs)
    assert len(np.unique(stream.matrix[:, 0])) < len(stream.matrix) / 2  # ties
