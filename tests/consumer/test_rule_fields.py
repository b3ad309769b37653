"""Rules that ask for what no event has are told, by the doctor and by the worker."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from skimstream.consumer.config import load_settings
from skimstream.consumer.doctor.stack import rules as checked
from skimstream.consumer.own import definitions_in
from skimstream.consumer.rule import Rule
from skimstream.consumer.rule_fields import OF_ALL, doubts, fields
from skimstream.consumer.rulebook import Book, Rulebook
from skimstream.consumer.streams.base import Stream
from skimstream.consumer.streams.own import Own
from skimstream.consumer.streams.registry import stream_of
from skimstream.consumer.watch import Watch
from skimstream.schemas.gather import gather
from stage.listed import Listed, Topic, recorder, sessions

OWN = Own(
    definitions_in('[stream.cards]\nkey = "card"\ntime = "when"\nnumbers = ["a", "b"]\ncategories = ["c"]\n', Path())[
        "cards"
    ]
)
RECORDS: Mapping[str, dict[str, Any]] = {
    "ztf": {"objectId": "ZTF1", "candidate": {"candid": 1, "fid": 1, "isdiffpos": "t"}},
    "lsst": {"diaSource": {"diaSourceId": 1, "diaObjectId": 2, "band": "g", "ssObjectId": 0}},
    "behaviour": {},
    "observation": {},
    "cards": {"card": "c", "when": "2026-11-21T10:00:00Z", "a": 1.0, "b": 2.0, "c": "x"},
}


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_said_to_be_described_is(name: str) -> None:
    stream: Stream = OWN if name == "cards" else stream_of(name)
    given = stream.describe(gather([RECORDS[name]], stream.wanted), 0)
    assert sorted(given) == sorted(stream.described)


@pytest.mark.parametrize("name", RECORDS)
def test_whatever_a_stream_has_is_no_doubt(name: str) -> None:
    stream: Stream = OWN if name == "cards" else stream_of(name)
    assert {*OF_ALL} < {*fields(stream)}
    every = [f"{field} == null" for field in fields(stream)]
    assert doubts([Rule(min_score=0.9, where=tuple(every))], stream) == []


def test_what_it_lacks_is_told_with_what_was_perhaps_meant() -> None:
    rule = Rule(name="odd", min_score=0.9, where=("candidate.drbb > 0.9", "score > 0.99", "quux == 1"))
    assert doubts([rule], stream_of("ztf")) == [
        "rule 'odd' asks for candidate.drbb, which no event of ztf has; perhaps candidate.drb",
        "rule 'odd' asks for quux, which no event of ztf has",
    ]


def test_the_doctor_tells_it() -> None:
    def of(*rules: dict[str, Any]) -> list[tuple[str, str]]:
        settings = load_settings(None, {"stream": "ztf", "monitor": [*rules]})
        return [(one.id, one.level) for one in checked(settings)]

    wrong = {"min_score": 0.9, "where": ["candidate.mag < 18"]}
    right = {"min_score": 0.8, "where": ["candidate.magpsf < 18"]}
    assert of(wrong, right) == [("rule-field", "warning")]
    assert of(right) == [("ok", "ok")]
    assert of() == of({**wrong, "stream": "lsst"}) == []


def test_a_worker_tells_it(store: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    book = Book((Rule(name="odd", min_score=0.9, where=("candidate.device == 1",)),))
    worker = recorder(store, watch=Watch(Rulebook(book, "behaviour")))
    source = Listed(Topic({0: list(sessions(3))}), iter([3]))
    with caplog.at_level(logging.WARNING):
        worker.run(source, lambda: source.done, 10)
    said = [record.reason for record in caplog.records if record.message == "a rule in vain"]  # type: ignore[attr-defined]
    assert said == [
        "rule 'odd' asks for candidate.device, which no event of behaviour has; perhaps candidate.device_type"
    ]
