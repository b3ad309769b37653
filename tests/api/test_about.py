"""Streams, columns, reasons and metrics: what is said about the board is what the board holds."""

import json

import httpx
import pytest
import redis

from skimstream.api.columns import LAYOUTS
from skimstream.consumer.board import key, read_nights, read_row, read_top
from stage.boarded import client_of
from stage.listed import model_of


def test_streams(client: httpx.Client, board: redis.Redis) -> None:
    found = {one["stream"]: one for one in client.get("/api/v1/streams").json()}
    assert set(found) == {"ztf", "behaviour"}
    for stream, one in found.items():
        assert one["nights"] == read_nights(board, stream)
        assert one["rows_of_latest"] == len(read_top(board, stream, one["nights"][0], 10_000))
        assert one["model"] == model_of(stream).id


@pytest.mark.parametrize("stream", sorted(LAYOUTS))
def test_schema_lists_the_columns_of_a_row(client: httpx.Client, stream: str) -> None:
    listed = client.get("/api/v1/schema", params={"stream": stream}).json()["columns"]
    columns = {one["name"]: one["type"] for one in listed if not one["large"]}
    kinds = {"text": str, "integer": int, "number": float, "json": list | dict}
    for row in client.get("/api/v1/anomaly", params={"stream": stream}).json():
        assert list(row) == list(columns)
        assert all(value is None or isinstance(value, kinds[columns[name]]) for name, value in row.items())


@pytest.mark.parametrize("stream", ["ztf", "behaviour"])
def test_explain_by_object_and_by_event(client: httpx.Client, board: redis.Redis, stream: str) -> None:
    night = read_nights(board, stream)[0]
    for row in read_top(board, stream, night, 5):
        expected = read_row(board, stream, night, row["object"])
        for asked in (row["object"], row["event"]):
            found = client.get(f"/api/v1/explain/{stream}/{asked}", params={"night": night}).json()
            assert found == {"stream": stream, **(expected or {})}
            assert found["explained"]["feature"]
        assert client.get(f"/api/v1/explain/{stream}/{row['event']}").json()["event"] == row["event"]


def test_a_board_of_another_name_has_the_columns_of_its_records(board: redis.Redis, store: redis.Redis) -> None:
    [night, *_] = read_nights(board, "ztf")
    for row in read_top(board, "ztf", night, 3):
        store.zadd(key("mine", "top", night), {row["object"]: row["score"]})
        store.hset(key("mine", "details", night), row["object"], json.dumps(row))
        odd = {"event": "e", "score": 0.5, "candidate": {"speed": 3, "colour": "red"}}
        store.zadd(key("odd", "top", night), {"x": 0.5})
        store.hset(key("odd", "details", night), "x", json.dumps(odd))
    with client_of(store) as client:
        mine = client.get("/api/v1/anomaly", params={"stream": "mine"}).json()
        assert len(mine) == 3
        assert list(mine[0]) == [one.name for one in LAYOUTS["ztf"] if not one.large]
        [row] = client.get("/api/v1/anomaly", params={"stream": "odd"}).json()
        assert (row["i:objectId"], row["i:speed"], row["i:colour"], row["d:score"]) == ("x", 3.0, "red", 0.5)


def test_metrics_know_routes_not_paths(board: redis.Redis) -> None:
    with client_of(board) as client:
        client.get("/api/v1/explain/ztf/nobody")
        client.get("/no/such/path")
        client.request("BREW", "/live")
        text = client.get("/metrics").text
    assert 'skim_http_requests_total{method="GET",route="/api/v1/explain/{stream}/{event}",status="404"} 1.0' in text
    assert 'skim_http_requests_total{method="GET",route="other",status="404"} 1.0' in text
    assert "nobody" not in text
    assert "such" not in text
    assert "BREW" not in text
