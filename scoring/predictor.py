"""Scoring a few events without a stream: in a notebook, a test, a service of one's own.

from skimstream.scoring import Predictor

predictor = Predictor("my-model")
predictor.predict_single({"user_id": "u1", "transaction_amount": 4999.0})["is_anomaly"]
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from .errors import EventRefused, ModelError
from .explain import Explanations
from .features.behaviour import FEATURES
from .intake import Event, Intake, fields_of, take_in
from .model import Model
from .words import noun_of

CLASSIFIER_THRESHOLD = 0.5  # rather an anomaly than not
SCORE_THRESHOLD = 0.99  # one event in a hundred


#: Names of events for errors, and events → rows of features.
Take = Callable[[Sequence[str], Sequence[Event]], Intake]


class Prediction(TypedDict):
    """What is known about one event; plain Python values, ready for JSON."""

    is_anomaly: bool  # anomaly_probability (of an isolation forest: score) > threshold
    prediction: int  # the same as 1 or 0
    anomaly_probability: float | None  # of a classifier, calibrated if the model is; None for an isolation forest
    confidence: float | None  # max(p, 1 - p) of it; None if nobody calibrated it
    score: float | None  # the whole detector's percentile, as on the board; None until it is warm
    reasons: list[str]  # in words: the weightiest features, and where their values stand in training
    missing: list[str]  # fields that the model knows and the event lacks: the median of training stood in
    unseen: list[str]  # fields whose value no earlier event had: neutral values stood in
    unused: list[str]  # fields that the model doesn't know
    ids: dict[str, str | None]  # user_id, session_id: names, never features


class Predictor:
    """A model bundle that scores dicts. Nothing is kept from call to call, so threads may share one.

    `model` is a bundle's folder or a `Model`; `threshold`, 0 to 1, is what `is_anomaly` compares with: a classifier's
    `anomaly_probability` (0.5 if not given), or an isolation forest's `score` (0.99). Raises `ModelError`.

    An event has the fields of its stream; `get_model_info()["fields"]` lists them. What isn't known is left out or
    None (or NaN, as in data frames). A model of another stream than `behaviour` takes its features themselves, unless
    `take` makes them of events.

    Every call is a fresh partition that begins where training ended: it lives through `history`, then through the
    events, in order, each scored from what came before it, and is then forgotten. So a batch gets, bit for bit, what a
    worker with a new partition would give the same records, and no running stream notices. What compares an event with
    its user's past, or a category with how often it was seen, is neutral for a single event without `history`: such
    fields are then in `unseen`.

    `anomaly_probability` of a random forest is what its votes are worth according to the labels that it was trained
    with, if there were enough of them (`get_model_info()["calibrated"]`, with Brier score and calibration error), and
    `confidence` the larger of it and its complement. Else it is the bare share of votes, and `confidence` None. An
    isolation forest has neither. `score` is a percentile among recent events, whatever the model.

    >>> from importlib.resources import files
    >>> predictor = Predictor(str(files("skimstream.scoring") / "models" / "behaviour-demo"))
    >>> habit = {"user_id": "u1", "device_type": "PC", "transaction_amount": 25.0, "time_on_page": 40.0}
    >>> history = [habit | {"transaction_date": f"2026-11-{day:02}T20:15:00Z"} for day in range(1, 21)]
    >>> night = habit | {"transaction_date": "2026-11-21T03:40:00Z", "device_type": "Mobile", "transaction_amount": 4e4}
    >>> result = predictor.predict_single(night, history)
    >>> result["is_anomaly"], result["unseen"], "clicks_count" in result["missing"]
    (True, ['device_type'], True)
    >>> predictor.predict_single(habit | {"transaction_amount": "25 EUR"})
    Traceback (most recent call last):
    skimstream.scoring.errors.EventRefused: event 0, transaction_amount: is '25 EUR' (str), expected a number, \
or None if it isn't known
    """

    def __init__(
        self, model: Model | str | os.PathLike[str], threshold: float | None = None, take: Take | None = None
    ) -> None:
        self.model = model if isinstance(model, Model) else Model.load(Path(model))
        self._take = take or partial(take_in, self.model.stream, self.model.features)
        if self.model.stream == "behaviour":
            self.model.require(FEATURES)
        self._votes = self.model.forest.kind == "classifier"
        self._calibrated = self.model.probability is not None
        usual = CLASSIFIER_THRESHOLD if self._votes else SCORE_THRESHOLD
        self.threshold = usual if threshold is None else threshold
        if not 0 <= self.threshold <= 1:
            raise ModelError(f"is {threshold}, choose 0 to 1", where="threshold")

    def predict_single(self, event: Event, history: Iterable[Event] | Any = ()) -> Prediction:
        """The result of one event, after the events of `history`. Raises `EventRefused`."""
        return self.predict_batch([event], history)[0]

    def predict_batch(self, events: Iterable[Event] | Any, history: Iterable[Event] | Any = ()) -> list[Prediction]:
        """The results of events in the order they happened, a list of dicts or a pandas DataFrame, after `history`.

        Raises `EventRefused`, naming the event and the field, for a value of the wrong kind; then there are no results.
        """
        before, now = _records(history, "history"), _records(events, "events")
        if not now:
            return []
        places = [f"history {i}" for i in range(len(before))] + [f"event {i}" for i in range(len(now))]
        taken = self._take(places, [*before, *now])
        ensemble, model, first = self.model.ensemble(), self.model, len(before)
        scores = ensemble.score_learn(taken.matrix)
        parts = ensemble.contributions(taken.matrix, scores, np.arange(first, len(places)))
        rows, noun = taken.matrix[first:], noun_of(model.stream)
        why = Explanations(rows, model.reference, model.features, model.units, noun, parts)
        likely = self._probability(scores.raw[:, 0])
        results: list[Prediction] = []
        for row in range(first, len(places)):
            score = float(scores.score[row]) if np.isfinite(scores.score[row]) else None
            probability = float(likely[row]) if self._votes else None
            decisive = probability if self._votes else score
            anomalous = decisive is not None and decisive > self.threshold
            results.append(
                {
                    "is_anomaly": anomalous,
                    "prediction": int(anomalous),
                    "anomaly_probability": probability,
                    "confidence": max(probability, 1 - probability)
                    if probability is not None and self._calibrated
                    else None,
                    "score": score,
                    "reasons": [str(reason) for reason in why.reasons(row - first)],
                    "missing": taken.missing[row],
                    "unseen": taken.unseen[row],
                    "unused": taken.unused[row],
                    "ids": taken.ids[row],
                }
            )
        return results

    def predict(self, events: Iterable[Event] | Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Labels int64[n], 1 = anomaly, and anomaly probabilities float64[n] (NaN: an isolation forest has none)."""
        results = self.predict_batch([events] if isinstance(events, dict) else events)
        labels = np.array([one["prediction"] for one in results], np.int64)
        return labels, np.array([one["anomaly_probability"] for one in results], np.float64)

    def _probability(self, votes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The calibrated probability, or the votes as they are."""
        return votes if self.model.probability is None else self.model.probability.apply(votes)

    def _confidence(self, probability: float | None) -> float | None:
        """In the likelier of the two; the word means something only if the probability does."""
        return None if probability is None or not self._calibrated else max(probability, 1 - probability)

    def get_model_info(self) -> dict[str, Any]:
        """What the model is, wants, and did in training."""
        model = self.model
        return {
            "model_type": "random forest" if self._votes else "isolation forest",
            "model_id": model.id,
            "stream": model.stream,
            "is_loaded": True,
            "feature_count": len(model.features),
            "features": list(model.features),
            "fields": list(fields_of(model.stream, model.features)),
            "decides_on": "anomaly_probability" if self._votes else "score",
            "threshold": self.threshold,
            "calibrated": self._calibrated,
            # Of later events than those that calibrated, in training; None if there were too few.
            "brier": model.metrics.get("calibrated_brier"),
            "expected_calibration_error": model.metrics.get("calibrated_ece"),
            "performance_metrics": dict(model.metrics),
            "training": dict(model.training),
        }


#: The name that older code knows.
AnomalyDetectionPredictor = Predictor


def _records(events: Iterable[Event] | Any, name: str) -> Sequence[Event]:
    """A list of dicts, from a list or from what gives one, as a pandas DataFrame does."""
    to_dict = getattr(events, "to_dict", None)
    if to_dict is not None:
        events = to_dict("records")
    if isinstance(events, dict | str | bytes) or not isinstance(events, Iterable):
        raise EventRefused(f"are one {type(events).__name__}, expected a list of dicts or a DataFrame", place=name)
    return list(events)
