"""A worker whose model has all the optional parts: the same board and checkpoint however it runs."""

import itertools
import json
from dataclasses import replace
from functools import partial

import pytest
import redis

import stage.listed
from skimstream.consumer.address import Address
from skimstream.scoring.combine import Combiner
from skimstream.scoring.ecdf import RollingEcdf
from skimstream.scoring.halfspace import HalfSpaceTrees
from skimstream.scoring.model import Model
from skimstream.scoring.sliding import SlidingForest
from stage.listed import Listed, Topic, learned, recorder, sessions


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """The demo model with all parts, of which the new ones have learned nothing."""
    base = stage.listed.model_of("behaviour")
    size = len(base.features)
    full = replace(
        base,
        halfspace=HalfSpaceTrees.build(base.features, seed=1, winsor=True, guard=True),
        sliding=SlidingForest(size, seed=1),
        ecdf=RollingEcdf(size),
        combiner=Combiner(4),
    )
    monkeypatch.setattr(stage.listed, "model_of", lambda stream: full)
    return full


def reached(source: Listed, stop: int) -> bool:
    return source.done or source.positions.get(0, 0) >= stop


def test_restarts_and_batches_change_nothing_and_parts_have_their_names(model: Model, store: redis.Redis) -> None:
    topic = Topic({0: [*sessions(1_500)]})
    whole = recorder(store, "whole")
    source = Listed(topic, itertools.repeat(400))
    whole.run(source, lambda: source.done)
    whole.dropped(Address("t", 0), lost=False)

    emitted = []
    for stop in (130, 600, 1_100, 1_500):  # a fresh worker each time, which goes on from the checkpoint
        worker, source = recorder(store, "pieced"), Listed(topic, itertools.cycle([1, 77, 200]))
        worker.run(source, partial(reached, source, stop))
        worker.dropped(Address("t", 0), lost=False)
        emitted += worker.emitted
    assert emitted == whole.emitted
    assert len(emitted) == 1_500
    assert learned(store, "pieced") == learned(store, "whole")

    boards = [rows for name, rows in learned(store, "whole").items() if name.startswith("details:")]
    parts = [json.loads(one)["raw"] for rows in boards for one in rows.values()]
    assert all(list(one) == ["frozen", "online", "sliding", "ecdf"] for one in parts)
    assert any(one["sliding"] is not None and one["ecdf"] is not None for one in parts)
