"""`POST /api/v1/score/{stream}`: what `Predictor` says, and nothing changes."""

import json

import httpx
import pytest
import redis

from skimstream.scoring import Predictor
from stage.listed import model_of

EVENT = {"user_id": "u1", "session_id": "s1", "transaction_date": "2026-11-21T03:40:00Z", "transaction_amount": 4999.0}


def everything(board: redis.Redis) -> dict[bytes, bytes]:
    """All that Redis holds."""
    dumped: dict[bytes, bytes] = {name: board.dump(name) for name in board.scan_iter()}  # type: ignore[misc]
    return dumped


def test_one_event_and_a_list(client: httpx.Client, board: redis.Redis) -> None:
    before = everything(board)
    predictor = Predictor(model_of("behaviour"))
    one = client.post("/api/v1/score/behaviour", json=EVENT).json()
    assert one == {**predictor.predict_single(EVENT), "model": predictor.model.id}
    assert {"is_anomaly", "anomaly_probability", "confidence", "prediction", "reasons", "model"} <= set(one)
    events = [EVENT, EVENT | {"session_id": "s2", "transaction_amount": None}]
    both = client.post("/api/v1/score/behaviour", json=events).json()
    assert both == [{**one, "model": predictor.model.id} for one in predictor.predict_batch(events)]
    assert both[0] == one
    assert client.post("/api/v1/score/behaviour", json=[]).json() == []
    assert everything(board) == before


def test_features_of_other_streams(client: httpx.Client) -> None:
    [found] = client.post("/api/v1/score/ztf", json=[{"g_amplitude": 3.5, "g_mean": 16.0}]).json()
    assert found["model"] == model_of("ztf").id
    assert 0 <= found["score"] <= 1
    assert found["anomaly_probability"] is None


@pytest.mark.parametrize(
    ("body", "argument"),
    [
        ({"transaction_amount": "25 EUR"}, "event 0, transaction_amount"),
        ([EVENT, 3], "event 1"),
        ([{"user_id": 3}], "event 0, user_id"),
        ([{"transaction_amount": 10**400}], "event 0, transaction_amount"),
        ("text", "event 0"),
        ([{}] * 1_001, "body"),
    ],
)
def test_events_that_can_not_be_scored(client: httpx.Client, body: object, argument: str) -> None:
    answer = client.post("/api/v1/score/behaviour", content=json.dumps(body))
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [one["argument"] for one in answer.json()["errors"]] == [argument]


def test_a_stream_that_is_not_there(client: httpx.Client) -> None:
    assert client.post("/api/v1/score/nobody", json=EVENT).status_code == 404
