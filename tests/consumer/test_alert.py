"""Alerts as the topic of anomalies has them: of every stream, readable by any Avro reader, equal to what was found."""

import io
import itertools
import json
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import pytest
import redis

from skimstream.consumer.alert import Announcement, AnnouncementError
from skimstream.consumer.board import read_top
from skimstream.consumer.message import message_of
from skimstream.consumer.rule import Rule
from skimstream.consumer.rulebook import Book, Rulebook
from skimstream.consumer.streams.registry import stream_of
from skimstream.consumer.watch import Watch
from skimstream.producer.encode import plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.observations import simulate_observations
from stage.boarded import alerts
from stage.listed import Listed, Topic, recorder, sessions


def messages(stream: str) -> list[bytes]:
    if stream == "ztf":
        return alerts(date(2026, 11, 21), 150)
    if stream == "observation":
        made = simulate_observations(3, datetime(2026, 11, 21, tzinfo=UTC), 300, 0.05)
        return [plain(one.record, load(stream)) for one in made]
    return sessions(300)


def announced(store: redis.Redis, stream: str, rule: Rule) -> list[Announcement]:
    watch = Watch(Rulebook(Book((rule,)), stream), f"skim.{stream}.anomalies")
    worker = recorder(store, stream, stream_of(stream), kept=400, watch=watch)
    source = Listed(Topic({0: list(messages(stream))}), itertools.cycle([1, 50, 200]))
    worker.run(source, lambda: source.done)
    found: list[Announcement] = worker.letters.announced  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("stream", ["ztf", "behaviour", "observation"])
def test_any_reader_reads_what_the_board_has(store: redis.Redis, stream: str) -> None:
    found = announced(store, stream, Rule(min_score=0.0))
    assert len(found) > 40
    parsed: list[Any] = [next(iter(fastavro.reader(io.BytesIO(one.value)))) for one in found]
    for one, record in zip(found, parsed, strict=True):
        assert round(record["timestamp"].timestamp() * 1000) == one.alert.record["timestamp"]
        assert one.headers() == [("id", record["id"].encode())]
        assert one.key.decode() == record["object"]
    events = {record["event"]: record for record in parsed}
    rows = [row for night in {record["night"] for record in parsed} for row in read_top(store, stream, night, 1_000)]
    assert len(rows) > 20
    for row in rows:
        record = events[row["event"]]
        for name in ("object", "night", "score", "combined", "severity", "model", "features", "raw", "candidate"):
            assert record[name] == row[name], name
        assert record["lightcurve"] == row.get("lightcurve")
        assert record["probability"] == row.get("probability")
        assert [one["words"] for one in record["reasons"]] == [one["words"] for one in row["reasons"]]
        json.dumps(dict(events[row["event"]], timestamp=0))
    assert (parsed[0]["lightcurve"] is not None) == (stream == "ztf")


def test_an_alert_of_the_sky_comes_with_a_picture(store: redis.Redis) -> None:
    rule = Rule(min_score=0.0, where=("candidate.magpsf < 19", 'candidate.band == "g"'))
    found = announced(store, "ztf", rule)
    assert 0 < len(found) < 140
    assert {one.alert.record["candidate"]["band"] for one in found} == {"g"}
    picture = message_of(found[0].alert.record, ["r"]).draw()
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


def test_a_topic_that_does_not_take_it(store: redis.Redis) -> None:
    announcement = announced(store, "observation", Rule(min_score=0.9))[0]
    error = announcement.refused("not authorised")
    assert isinstance(error, AnnouncementError)
    assert "skim.observation.anomalies" in str(error)
    assert announcement.lighter() is None
