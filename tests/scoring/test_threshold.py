"""So many alarms as asked, on streams that drift; and what stands outside of that."""

import numpy as np
import pytest
from numpy.typing import NDArray

from skimstream.scoring.combine import CAP
from skimstream.scoring.errors import ModelError
from skimstream.scoring.threshold import STEP, Threshold, Thresholds

RNG = np.random.default_rng(4)
# Quiet, then drifting upwards, then three times as wide, and never above the cap.
DRIFTING = np.concatenate([RNG.normal(size=5_000), RNG.normal(size=5_000) + np.linspace(0, 2, 5_000)])
DRIFTING = np.concatenate([DRIFTING, np.clip(3 * RNG.normal(size=5_000), -3, CAP)])


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_the_long_run_rate_is_the_nominal_one_though_the_stream_drifts(rate: float) -> None:
    alarms = Threshold.fit(DRIFTING[:5_000], rate).alarms(DRIFTING[5_000:])
    assert alarms.mean() == pytest.approx(rate, rel=0.1)
    fixed = DRIFTING[5_000:] > np.quantile(DRIFTING[:5_000], 1 - rate)
    assert fixed.mean() > 3 * rate  # so the stream is one on which a fixed bar fails


def test_it_does_what_plain_python_does_in_any_cut() -> None:
    values = DRIFTING[:900].copy()
    values[::50], values[7::90] = CAP + 1, np.nan
    threshold = Threshold.fit(DRIFTING[900:2_000], 0.02)
    level, expected = threshold.level, []
    for value in values.tolist():
        if value > CAP:
            expected.append(True)
            continue
        expected.append(value > level)
        if not np.isnan(value):
            level += threshold.step * ((1.0 if value > level else 0.0) - 0.02)
    found = np.concatenate([threshold.alarms(part) for part in np.split(values, [1, 8, 500])])
    assert found.tolist() == expected
    assert threshold.level == level


def test_broken_rules_always_raise_an_alarm_and_no_bar() -> None:
    threshold = Threshold(0.01, 2.0, 1.0)
    assert threshold.alarms(np.full(100, CAP + 1)).all()
    assert threshold.level == 2.0


def test_it_begins_at_the_quantile_of_what_breaks_no_rule() -> None:
    values = np.concatenate([DRIFTING[:1_000], np.full(500, CAP + 2), np.full(9, np.nan)])
    threshold = Threshold.fit(values, 0.1)
    middle, level, high = np.quantile(DRIFTING[:1_000], [0.5, 0.9, 0.99])
    assert threshold.level == level
    assert threshold.step == pytest.approx(STEP * (high - middle))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ModelError, match="100"):
        Threshold.fit(np.zeros(99), 0.01)
    for rate, level, step in ((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.1, np.nan, 1.0), (0.1, 0.0, 0.0)):
        with pytest.raises(ModelError, match="rate"):
            Threshold(rate, level, step)


def test_a_threshold_a_severity_comes_back_as_it_was() -> None:
    thresholds = Thresholds.fit(DRIFTING[:5_000])
    alarms = thresholds.alarms(DRIFTING[5_000:9_000])
    again = Thresholds.from_arrays(thresholds.to_arrays())
    assert again.levels == thresholds.levels
    assert np.array_equal(again.alarms(DRIFTING[9_000:]), thresholds.alarms(DRIFTING[9_000:]))
    notable, high = alarms.mean(axis=0).tolist()
    assert notable == pytest.approx(0.01, rel=0.2)
    assert 0 < high < notable


def test_thresholds_find_their_places_where_nothing_is_known() -> None:
    thresholds = Thresholds.begin()
    low = np.random.default_rng(1).normal(size=40_000) - 2.0
    thresholds.alarms(low[:10_000])
    notable, high = thresholds.alarms(low[10_000:]).mean(axis=0).tolist()
    assert notable == pytest.approx(0.01, rel=0.1)
    assert high == pytest.approx(0.001, rel=0.4)


@pytest.mark.parametrize(
    "state",
    [None, np.zeros((2, 3)), np.array([[0.01, np.nan, 1.0], [0.001, 3.0, 1.0]]), np.array([[0.01, 2.0, 1.0]] * 2)],
)
def test_thresholds_that_no_run_leads_to_are_refused(state: NDArray[np.float64] | None) -> None:
    with pytest.raises(ModelError):
        Thresholds.from_arrays({} if state is None else {"state": state})
