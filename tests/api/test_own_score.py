"""`POST /api/v1/score/…` of a stream of one's own, and what it says without its definition or a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from skimstream.cli.serve import chosen_model
from skimstream.consumer.own import definitions_in
from skimstream.consumer.streams.own import Own
from skimstream.scoring.train import Options, train
from stage.boarded import client_of

TEXT = '[stream.payments]\nkey = "card"\ntime = "when"\nnumbers = ["amount"]\nfeatures = ["value", "z", "ratio"]\n'


@pytest.fixture
def own() -> Own:
    return Own(definitions_in(TEXT, Path())["payments"])


def post(store: redis.Redis, own: dict[str, Own], events: Any, folders: list[Path]) -> Any:
    with client_of(store, models=chosen_model(store, folders, own), own=own) as client:
        return client.post("/api/v1/score/payments", content=json.dumps(events))


def test_events_are_scored_by_name(store: redis.Redis, own: Own, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.lognormal(3, 0.3, 1_200), rng.normal(size=1_200), rng.lognormal(0, 0.1, 1_200)])
    train("payments", own.features, own.units, rows, options=Options(20)).save(tmp_path / "model")
    events = [
        {"card": "c", "when": f"2026-11-0{day}", "amount": amount}
        for day, amount in enumerate([20, 21, 19, 20, 900], 1)
    ]
    done = post(store, {"payments": own}, events, [tmp_path / "model"])
    assert done.status_code == 200, done.text
    found = done.json()
    assert found[-1]["score"] == max(one["score"] for one in found) > 0.99
    assert "card: z-score of amount 20 standard deviations: above all 1,200 seen in training" in found[-1]["reasons"]
    assert found[0]["ids"] == {"card": "c"}
    assert found[0]["unseen"] == ["card"]
    wrong = post(store, {"payments": own}, [{**events[0], "amount": "much"}], [tmp_path / "model"])
    assert (wrong.status_code, "amount holds str" in wrong.text) == (400, True)
    half = post(store, {"payments": own}, {**events[0], "card": "\ud800"}, [tmp_path / "model"])
    assert half.status_code == 400


def test_what_is_lacking_is_said(store: redis.Redis, own: Own) -> None:
    event = {"card": "c", "when": "2026-11-01", "amount": 5}
    unknown = post(store, {}, event, [])
    assert (unknown.status_code, "--config that defines it" in unknown.text) == (404, True)
    untrained = post(store, {"payments": own}, event, [])
    assert (untrained.status_code, "skim train payments" in untrained.text) == (404, True)
