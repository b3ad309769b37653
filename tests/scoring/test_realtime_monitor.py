"""The library's RealTimeMonitor: above the threshold or not, and what it says."""

import io
from typing import Any

import pytest

from skimstream.scoring import RealTimeMonitor
from skimstream.scoring.errors import ModelError


class Oracle:
    """Answers what it is told to."""

    def __init__(self, **said: Any) -> None:
        self.said = {"anomaly_probability": None, "confidence": None, "score": None, "reasons": [], "ids": {}} | said

    def predict_single(self, event: Any, /) -> Any:
        return self.said


def told(oracle: Oracle, threshold: float = 0.5) -> tuple[bool, str]:
    out = io.StringIO()
    return RealTimeMonitor(oracle, threshold, out).monitor_user_behavior({}), out.getvalue()


def test_above_the_threshold_it_tells_user_probability_confidence_and_why() -> None:
    oracle = Oracle(anomaly_probability=0.91, confidence=0.91, reasons=["amount 4e4: above all"], ids={"user_id": "u1"})
    yes, text = told(oracle)
    assert yes is True
    assert text.splitlines() == [
        "Anomalous behaviour",
        "  User:        u1",
        "  Probability: 0.9100",
        "  Confidence:  0.9100",
        "  Why:         amount 4e4: above all",
    ]


@pytest.mark.parametrize("value", [0.5, 0.2, None])
def test_up_to_the_threshold_it_is_silent(value: float | None) -> None:
    assert told(Oracle(anomaly_probability=value)) == (False, "")


def test_without_labels_the_score_is_compared() -> None:
    assert told(Oracle(score=0.995), 0.99)[0] is True
    assert "Score:" in told(Oracle(score=0.995), 0.99)[1]
    assert told(Oracle(score=0.98), 0.99) == (False, "")


def test_what_users_are_called_moves_no_cursor() -> None:
    _, text = told(Oracle(anomaly_probability=0.9, ids={"user_id": "u\x1b[2J\nUser: root"}))
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_none(threshold: float) -> None:
    with pytest.raises(ModelError, match="anomaly_threshold"):
        RealTimeMonitor(Oracle(), threshold)
