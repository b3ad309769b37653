"""`skim evaluate --labels`: recorded events scored again, and judged by what became known of them since."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import typer

from ..consumer.config import Settings
from ..consumer.configured import configured_stream, decoder_of
from ..consumer.place import moment_of
from ..consumer.run import reading_options
from ..consumer.stored import stored
from ..consumer.streams.base import night_name
from ..consumer.streams.own import Own
from ..scoring.errors import ModelError
from ..scoring.verdict import verdict
from .gather import Gatherer
from .known import Known, of_file, of_topic
from .labels import LabelError, Labels
from .models import load_model
from .progress import counting
from .rescored import Rescored

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to judge: events of files, else of the topic; labels of a file or a topic, else those among the events."""

    files: Sequence[Path]
    labels: Path | None
    labels_topic: str | None
    first: str | None
    last: str | None
    nights: tuple[str, ...]
    top: int
    thresholds: Sequence[float]


def judge(settings: Settings, wishes: Wishes) -> dict[str, Any]:
    """The figures. Raises `LabelError` where nothing is known of the events, `ModelError` for a model of another."""
    stream, topic = configured_stream(settings), settings.topic or settings.stream
    model = load_model(settings.stream, settings.model, own=settings.definition is not None)
    if (model.stream, model.features) != (stream.name, tuple(stream.features)):
        raise ModelError(f"is of other features than the stream {stream.name} has now: train anew", where="model")
    first, last = _moment(wishes.first, "--from", -math.inf), _moment(wishes.last, "--until", math.inf)
    nights = {_night(one) for one in wishes.nights}
    feed = stream.definition.labels if isinstance(stream, Own) else None
    options = reading_options(settings)
    time_format = stream.time_format if isinstance(stream, Own) else "iso8601"
    known = Known()
    if wishes.labels is not None:
        known = of_file(wishes.labels, time_format)
    elif wishes.labels_topic is not None:
        known = of_topic(options, wishes.labels_topic, time_format)
    scored = Rescored(stream, model, ordered=not wishes.files)
    gatherer = Gatherer(stream, Labels(), scored.heard)
    with counting("reading") as progress:
        if wishes.files:
            for read in gatherer.files(wishes.files):
                progress(read)
        else:
            for read in gatherer.topic(stored(options, settings.one_topic), decoder_of(settings, stream)):
                progress(read)
        gatherer.mark()
    where = str(wishes.labels or wishes.labels_topic or topic)
    if wishes.labels is None and wishes.labels_topic is None:
        known = scored.known
    judged, matched = scored.judged(known, feed.seconds if feed else 0.0, first, last, nights)
    if judged.anomaly.all() or not judged.anomaly.any():
        kind = "anomalies" if judged.anomaly.any() else "ordinary events"
        found = f"{len(known.labels)} labels, {matched} of them of these events; {len(judged.anomaly)} {kind} to judge"
        raise LabelError(where, f"{found}: anomalies and ordinary events are needed")
    return {
        "stream": stream.name,
        "model": model.id,
        "labels": {"given": len(known.labels), "matched": matched, "unreadable": known.unreadable},
        "unlabelled": "left out" if known.both else "ordinary",
        "records": gatherer.tally.records,
        "warming": scored.silent,
        "trained_on": model.training.get("nights", []),
        "window": [night_name(int(one)) for one in (judged.night.min(), judged.night.max())],
        **verdict(judged, wishes.top, wishes.thresholds),
    }


def report_of(told: dict[str, Any]) -> str:
    """The figures for people."""
    labels, top = told["labels"], told["top"]
    lines = [
        f"{told['stream']}, nights {told['window'][0]} to {told['window'][1]}: {told['events']:,} events judged, "
        f"{told['anomalies']:,} anomalies, of {told['owners']:,} owners",
        f"{labels['matched']:,} of {labels['given']:,} labels found their event; "
        f"events without are {told['unlabelled']}; {told['warming']:,} came before the first score",
        f"AUC {_said(told['roc_auc'])}, average precision {_said(told['average_precision'])}",
        f"of a night's top {top['size']} right: {_said(top['precision'])}, {top['found']:,} in {told['nights']} nights",
        "",
        f"{'score above':12}{'alarms':>10}{'precision':>26}{'recall':>26}{'false positive rate':>28}",
    ]
    for one in told["at"]:
        rates = f"{_said(one['precision']):>26}{_said(one['recall']):>26}{_said(one['false_positive_rate']):>28}"
        lines.append(f"{one['threshold']:<12g}{one['alarms']:>10,}{rates}")
    lines += ["", f"{'alone':12}{'events':>10}{'AUC':>10}{'AP':>10}"]
    for name, one in told["parts"].items():
        lines.append(f"{name:12}{one['events']:>10,}{_one(one['roc_auc']):>10}{_one(one['average_precision']):>10}")
    if told["trained_on"] and told["trained_on"][0] <= told["window"][1] and told["window"][0] <= told["trained_on"][1]:
        nights = " to ".join(told["trained_on"])
        lines.append(f"\nThe model has learned nights {nights}: what it knows by heart says nothing. Judge later ones")
    return "\n".join(lines) + "\n"


def _said(interval: Sequence[float | None]) -> str:
    value, low, high = map(_one, interval)
    return f"{value} [{low}, {high}]"


def _one(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _moment(text: str | None, option: str, otherwise: float) -> float:
    if text is None:
        return otherwise
    found = moment_of(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-11-01 or 2026-11-01T03:00Z", param_hint=option)
    return found.milliseconds / 1000


def _night(text: str) -> int:
    try:
        return (datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date() - EPOCH).days
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no date; write 2026-11-01", param_hint="--night") from error
