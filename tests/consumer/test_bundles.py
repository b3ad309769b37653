"""Models put in force while workers run: from one recorded offset on, and that offset stays whatever happens later."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import redis

from skimstream.consumer.board import key, read_top
from skimstream.consumer.bundles import KEPT, Active, Bundles, NothingBefore
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.schemas.decode import Decoder
from skimstream.scoring.errors import ModelError
from skimstream.scoring.model import MANIFEST, Model
from stage.listed import Listed, Recorder, Topic, model_of, recorder, sessions, with_other_trees

EVENTS: list[bytes | None] = [*sessions(900, users=60)]
OWN = model_of("behaviour")


NEXT, LATER = with_other_trees(OWN, 1), with_other_trees(OWN, 2)


def topic_of(count: int, partitions: int = 1) -> Topic:
    return Topic({number: EVENTS[:count][number::partitions] for number in range(partitions)})


def go_on(worker: Recorder, source: Listed, until: int) -> None:
    """Read on until so many events have been emitted."""
    worker.run(source, lambda: source.done or worker.tally.consumed >= until)


def expected(*spans: tuple[int, Model]) -> dict[tuple[int, int], bytes]:
    """Scores of one partition in which each model begins at an offset, by the library alone."""
    stream = Behaviour()
    columns = Decoder(stream.wanted, stream.framing, stream.schema()).decode(EVENTS).columns
    matrix = stream.open().features(columns).matrix
    ends = [first for first, _ in spans[1:]] + [len(matrix)]
    scores = [model.ensemble().score_learn(matrix[at:end]).score for (at, model), end in zip(spans, ends, strict=True)]
    return {(0, offset): one.tobytes() for offset, one in enumerate(np.concatenate(scores))}


def scores_of(*workers: Recorder) -> dict[tuple[int, int], bytes]:
    found: dict[tuple[int, int], bytes] = {}
    for partition, offset, score in itertools.chain(*(worker.emitted for worker in workers)):
        assert found.setdefault((partition, offset), score) == score
    return found


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_model_scores_from_a_recorded_offset_on_whatever_happens_later(seconds: float, store: redis.Redis) -> None:
    bundles = Bundles(store, "behaviour")
    clock = itertools.count(step=2)

    def worker(model: Model = OWN) -> Recorder:
        return recorder(store, model=model, checkpoint_seconds=seconds, clock=lambda: float(next(clock)))

    first, source = worker(), Listed(topic_of(900), itertools.repeat(20))
    go_on(first, source, 200)
    bundles.activate(NEXT)
    go_on(first, source, 500)
    [(begun, started), (switched, model)] = bundles.switches()["t/0"].items()
    assert (begun, started, model) == (0, OWN.id, NEXT.id)
    assert 200 <= switched <= 240
    # It dies. Others go on, from whatever was saved, in other batches, though they were started with the old model.
    second, source = worker(), Listed(topic_of(900), itertools.repeat(7))
    go_on(second, source, 100)
    third, source = worker(LATER), Listed(topic_of(900), itertools.repeat(50))
    go_on(third, source, 900)
    assert scores_of(first, second, third) == expected((0, OWN), (switched, NEXT))
    assert list(bundles.switches()["t/0"]) == [0, switched]
    rows = read_top(store, "behaviour", "2026-11-21", 200)
    assert {row["model"] for row in rows} == {OWN.id, NEXT.id}


def test_a_switch_that_dies_before_it_is_recorded_happens_later(store: redis.Redis) -> None:
    class Died(BaseException):
        pass

    clock = itertools.count(step=2)
    armed = False

    def reached(point: str) -> None:
        if armed and point == "prepared":
            raise Died

    first = recorder(store, clock=lambda: float(next(clock)), checkpoint_seconds=1e9, reached=reached)
    source = Listed(topic_of(900), itertools.repeat(20))
    go_on(first, source, 100)
    armed = True
    with pytest.raises(Died):
        go_on(first, source, 200)
    Bundles(store, "behaviour").activate(NEXT)
    second = recorder(store, clock=lambda: float(next(clock)), checkpoint_seconds=1e9)
    go_on(second, Listed(topic_of(900), itertools.repeat(20)), 900)
    assert second.relearned == 100
    assert scores_of(first, second) == expected((0, OWN), (100, NEXT))


def test_rolling_back_is_an_undo(store: redis.Redis) -> None:
    moments = (datetime(2026, 11, 22, tzinfo=UTC) + timedelta(hours=n) for n in itertools.count())
    bundles = Bundles(store, "behaviour", lambda: next(moments))
    with pytest.raises(NothingBefore, match="behaviour"):
        bundles.rollback()
    bundles.activate(NEXT)
    bundles.activate(LATER)
    assert bundles.rollback().model == NEXT.id
    assert bundles.rollback().model == ""
    with pytest.raises(NothingBefore):
        bundles.rollback()
    assert [(one.model, one.by, one.at[11:13]) for one in bundles.history()] == [
        (NEXT.id, "activate", "00"),
        (LATER.id, "activate", "01"),
        (NEXT.id, "rollback", "02"),
        ("", "rollback", "03"),
    ]
    worker = recorder(store, model=OWN)
    worker.chosen.ask()
    assert worker.chosen.model is OWN
    bundles.activate(LATER)
    worker.chosen.ask()
    assert worker.chosen.model.id == LATER.id
    bundles.rollback()
    worker.chosen.ask()
    assert worker.chosen.model is OWN


def test_bundles_come_back_whole_and_are_kept_while_they_can_be_rolled_back_to(store: redis.Redis) -> None:
    bundles = Bundles(store, "behaviour")
    bundles.activate(NEXT)
    assert bundles.load(NEXT.id).files() == NEXT.files()
    for turn in range(KEPT):
        bundles.activate((OWN, LATER)[turn % 2])
    assert len(bundles.history()) == KEPT
    with pytest.raises(ModelError, match="gone"):
        bundles.load(NEXT.id)
    assert bundles.rollback().model == OWN.id
    assert bundles.load(OWN.id).id == OWN.id


@pytest.fixture
def damaged(store: redis.Redis) -> Bundles:
    """A bundle in force, whose manifest names another feature."""
    bundles = Bundles(store, "behaviour")
    bundles.activate(NEXT)
    name = key("behaviour", "bundle", NEXT.id)
    manifest: Any = store.hget(name, MANIFEST)
    store.hset(name, MANIFEST, manifest.replace(b"click_events", b"click_event_"))
    return bundles


def test_a_model_that_cannot_be_used_is_refused_once_and_stops_nothing(damaged: Bundles, store: redis.Redis) -> None:
    clock = itertools.count(step=2)
    worker = recorder(store, clock=lambda: float(next(clock)))
    go_on(worker, Listed(topic_of(300), itertools.repeat(20)), 300)
    assert scores_of(worker).items() <= expected((0, OWN)).items()
    sample = worker.metrics.registry.get_sample_value
    assert sample("skim_refused_models_total", {"stream": "behaviour"}) == 1
    labels = {"stream": "behaviour", "model": "ensemble", "version": OWN.id, "features_hash": OWN.features_hash}
    assert sample("skim_model_info", labels) == 1
    strange = replace(OWN, stream="other", units=("x", *OWN.units[1:]))
    damaged.activate(replace(strange, features=OWN.features))  # of the same features: it will do
    worker.chosen.ask()
    assert worker.chosen.model.units[0] == "x"


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_shadow_scores_beside_and_changes_nothing(seconds: float, store: redis.Redis) -> None:
    clock = itertools.count(step=2)

    def worker(**options: Any) -> Recorder:
        return recorder(store, clock=lambda: float(next(clock)), checkpoint_seconds=seconds, **options)

    bundles, source = Bundles(store, "behaviour"), Listed(topic_of(900), itertools.repeat(20))
    first = worker()
    go_on(first, source, 200)
    bundles.shadow(NEXT)
    go_on(first, source, 400)
    assert bundles.active() == Active("", NEXT.id)
    second = worker()
    go_on(second, Listed(topic_of(900), itertools.repeat(7)), 900)
    assert scores_of(first, second) == expected((0, OWN))
    rows = [row for row in read_top(store, "behaviour", "2026-11-21", 200) if "shadow" in row]
    assert {row["shadow"]["model"] for row in rows} == {NEXT.id}
    assert list(bundles.switches()["t/0"].values()) == [OWN.id], "a shadow decides nothing"
    sample = second.metrics.registry.get_sample_value
    counted = [
        sample("skim_shadow_verdicts_total", {"stream": "behaviour", "verdict": verdict})
        for verdict in ("both", "model", "shadow", "neither")
    ]
    assert sum(one or 0 for one in counted) == second.tally.scored
    labels = {"stream": "behaviour", "model": "shadow", "version": NEXT.id, "features_hash": NEXT.features_hash}
    assert sample("skim_model_info", labels) == 1
    bundles.shadow(None)
    second.chosen.ask()
    assert second.chosen.shadow is None


def test_a_shadow_says_the_same_whatever_happens(store: redis.Redis) -> None:
    """Each row's shadow score, in one go and with deaths, in any batches."""
    found = []
    for name, lives in (("behaviour", [900]), ("other", [40, 130, 900])):
        Bundles(store, name).shadow(NEXT)
        for life in lives:
            worker = recorder(store, name, kept=900, checkpoint_seconds=1e9)
            go_on(worker, Listed(topic_of(900), itertools.repeat(1 + life // 20)), life)
        rows = read_top(store, name, "2026-11-21", 900)
        found.append({row["event"]: json.dumps(row["shadow"]) for row in rows})
    assert len(found[0]) > 20
    assert found[0] == found[1]
    kept: Any = store.get(key("other", "model", "t/0"))
    assert b'"shadow": "' + NEXT.id.encode() in kept
