"""Models put in force while workers are killed, on a real Kafka and a real Redis: each scores from its offset on."""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from brokers.kafka import Kafka
from brokers.redis import RedisServer
from skimstream.consumer.bundles import Bundles
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.schemas.decode import Decoder
from skimstream.scoring.model import Model
from stage.fleet import wait_for
from stage.listed import model_of, sessions, with_other_trees
from stage.play import PARTITIONS, Play

OWN = model_of("behaviour")


def expected(events: list[bytes | None], switches: dict[int, str], models: dict[str, Model]) -> list[float]:
    """The scores of one partition, by the library alone: each model begins at its offset as training left it."""
    stream = Behaviour()
    columns = Decoder(stream.wanted, stream.framing, stream.schema()).decode(events).columns
    matrix = stream.open().features(columns).matrix
    ends = [*list(switches)[1:], len(matrix)]
    spans = zip(switches.items(), ends, strict=True)
    scores = [models[name].ensemble().score_learn(matrix[at:end]).score for (at, name), end in spans]
    return [float(one) for one in np.concatenate(scores)]


@pytest.mark.parametrize(
    ("kills", "events"), [(6, 3_000), pytest.param(100, 60_000, marks=pytest.mark.chaos)], ids=["6", "100"]
)
def test_each_model_scores_from_its_recorded_offset_on_though_workers_are_killed(
    kills: int, events: int, kafka: Kafka, redis_server: Callable[[], RedisServer], tmp_path: Path
) -> None:
    rng, server = random.Random(kills), redis_server()
    models = {model.id: model for model in (OWN, with_other_trees(OWN, 1), with_other_trees(OWN, 2))}
    others = [model for model in models.values() if model is not OWN]
    with Play(kafka, server, tmp_path, sessions(events, users=500)) as stage, server.client() as client:
        bundles = Bundles(client, "behaviour")
        for kill in range(kills):
            stage.send(events // (kills + 1))
            name = stage.alone()
            wait_for(partial(stage.fleet.has_emitted, name), f"it works\n{stage.fleet.log(name)[-3000:]}")
            if kill % 4 == 1:
                bundles.activate(others[kill // 4 % 2])
            elif kill % 4 == 3:
                bundles.rollback()
            time.sleep(rng.uniform(0.0, 1.5))  # a worker asks once a second
            stage.fleet.kill(name)
        stage.send_all()
        stage.alone()
        wait_for(stage.done, f"all is applied\n{stage.fleet.logs()[-4000:]}", 180)
        for name in list(stage.fleet.members):
            stage.fleet.leave(name)
        switches, emitted = bundles.switches(), stage.fleet.last_emitted()
        for number in range(PARTITIONS):
            own = switches[f"{stage.name}/{number}"]
            wanted = expected(stage.sent[number], own, models)
            found = [emitted[number, offset] for offset in range(len(wanted))]
            np.testing.assert_array_equal(found, wanted)
        assert sum(len(own) - 1 for own in switches.values()) > PARTITIONS, "hardly any model was switched"
