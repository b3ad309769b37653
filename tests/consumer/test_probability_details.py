"""The board's details have a probability where labels calibrated one, and only there."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.board import Board
from skimstream.consumer.checkpoint import Begun
from skimstream.consumer.fence import Fence
from skimstream.consumer.partition import Partition
from skimstream.consumer.rows import rows_of
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.work import Work
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.gather import gather
from skimstream.scoring.model import Model


class EmptyBoard(Board):
    def __init__(self) -> None:
        """Without a store."""

    def floor(self, night: int) -> float:
        return 0.0

    def best(self, night: int, owner: str) -> float:
        return 0.0


@pytest.mark.parametrize("calibrated", [True, False])
def test_details_have_the_probability_of_the_votes(calibrated: bool) -> None:
    model = Model.load(Path(str(files("skimstream.scoring") / "models" / "behaviour-demo")))
    curve = model.probability
    assert curve is not None
    if not calibrated:
        model = replace(model, probability=None)
    partition = Partition(Address("t", 0), Behaviour(), model, Begun(Fence(0, "0:new:0"), "", ""))
    events = list(simulate_sessions(3, datetime(2026, 11, 21, tzinfo=UTC), 200, 20, 30.0, 0.1))
    featured = partition.features(gather([event.record for event in events], partition.stream.wanted))
    scores = partition.score(featured)
    work, judged = (
        Work(Batch(Address("t", 0), 0, 0, [], [], []), featured.columns, featured.rows, []),
        partition.judge(featured, scores),
    )
    found = rows_of(partition, featured, scores, EmptyBoard(), judged, work)
    rows = [json.loads(row.details) for row in found]
    assert len(rows) > 30
    if calibrated:
        votes = dict(zip((event.record["session_id"] for event in events), scores.raw[:, 0], strict=True))
        expected = curve.apply(np.array([votes[row["event"]] for row in rows]))
        assert [row["probability"] for row in rows] == expected.tolist()
    else:
        assert not any("probability" in row for row in rows)
