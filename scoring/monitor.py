"""Threshold alerts for single events, without a stream: each is scored, told, and answered with yes or no."""

import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from .errors import ModelError


class Predicts(Protocol):
    """What a monitor needs of a `Predictor`."""

    def predict_single(self, event: Mapping[str, Any], /) -> Mapping[str, Any]: ...


class RealTimeMonitor:
    """Tells of each event whose anomaly probability is above `anomaly_threshold`, 0 to 1.

    A model without labels has no probability; then its `score`, the percentile, is compared. What is told goes to
    `out`, standard output if none. Raises `ModelError` for a threshold outside of 0 to 1.

    >>> from importlib.resources import files
    >>> from skimstream.scoring import Predictor
    >>> predictor = Predictor(str(files("skimstream.scoring") / "models" / "behaviour-demo"))
    >>> monitor = RealTimeMonitor(predictor, anomaly_threshold=0.5)
    >>> monitor.monitor_user_behavior({"user_id": "u1", "transaction_amount": 25.0})
    False
    """

    def __init__(self, predictor: Predicts, anomaly_threshold: float = 0.5, out: TextIO | None = None) -> None:
        if not 0 <= anomaly_threshold <= 1:
            raise ModelError(f"anomaly_threshold must be 0 to 1, not {anomaly_threshold}")
        self.predictor = predictor
        self.anomaly_threshold = anomaly_threshold
        self.out = out

    def monitor_user_behavior(self, data: Mapping[str, Any]) -> bool:
        """Whether the event is above the threshold; if so, a few lines say whose it is, how odd, and why."""
        found = self.predictor.predict_single(data)
        likely, score = found["anomaly_probability"], found["score"]
        value = score if likely is None else likely
        if value is None or not value > self.anomaly_threshold:  # no value yet: the detector isn't warm
            return False
        user = found["ids"].get("user_id")
        lines = [
            "Anomalous behaviour",
            f"  User:        {'unknown' if user is None else _plain(user)}",
            f"  {'Score:      ' if likely is None else 'Probability:'} {value:.4f}",
            *([] if found["confidence"] is None else [f"  Confidence:  {found['confidence']:.4f}"]),
            *(f"  Why:         {_plain(reason)}" for reason in found["reasons"]),
        ]
        print("\n".join(lines), file=self.out or sys.stdout, flush=True)
        return True


def _plain(text: str) -> str:
    """Text of events is data: it begins no line and moves no cursor."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
