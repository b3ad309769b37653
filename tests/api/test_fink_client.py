"""Fink's documented client code runs against the API with only the URL changed."""

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import redis

from skimstream.consumer.board import key, read_nights, read_top
from skimstream.scoring.features.lightcurve import FEATURES
from stage.boarded import NIGHTS

COLUMNS = "i:objectId,d:cdsxmatch,i:magpsf"


def test_the_documented_query(client: httpx.Client) -> None:
    r = client.post("/api/v1/anomaly", json={"n": 10000, "stop_date": "2026-11-22", "columns": COLUMNS})
    pdf = pd.read_json(io.BytesIO(r.content))
    assert list(pdf.columns) == COLUMNS.split(",")
    assert len(pdf) == 10 * len(NIGHTS)
    assert pdf["i:magpsf"].between(10, 24).all()
    assert pdf.groupby("d:cdsxmatch").count().empty  # alerts bring no class
    assert pdf.groupby("i:objectId")["i:magpsf"].count().sum() == len(pdf)


def test_the_two_steps_to_light_curves(client: httpx.Client) -> None:
    r = client.post("/api/v1/anomaly", json={"n": "5", "columns": "i:objectId"})
    ids = pd.read_json(io.BytesIO(r.content))["i:objectId"].unique()
    assert len(ids) == 5
    r = client.post(
        "/api/v1/objects",
        json={"objectId": ",".join(ids), "columns": "i:objectId,i:jd,i:magpsf,i:fid", "output-format": "json"},
    )
    pdf = pd.read_json(io.BytesIO(r.content))
    assert set(pdf["i:objectId"]) == set(ids)
    assert pdf["i:fid"].isin([1, 2]).all()
    assert pdf["i:jd"].is_monotonic_decreasing


def test_features_are_lists_in_finks_order(client: httpx.Client, board: redis.Redis) -> None:
    r = client.get("/api/v1/anomaly", params={"n": 30})
    pdf = pd.read_json(io.BytesIO(r.content))
    seen = 0
    for _, row in pdf.iterrows():
        details = json.loads(board.hget(key("ztf", "details", row["d:night"]), row["i:objectId"]) or b"")
        for band in ("g", "r"):
            values = json.loads(row[f"d:lc_features_{band}"])
            assert len(values) == len(FEATURES) == 26
            assert values == [details["features"].get(f"{band}_{name}") for name in FEATURES]
            seen += values[FEATURES.index("mean")] is not None
    assert seen >= 30


def test_default_rows_and_order_are_finks(client: httpx.Client, board: redis.Redis) -> None:
    rows = client.get("/api/v1/anomaly").json()
    best = read_top(board, "ztf", read_nights(board, "ztf")[0], 10)
    assert {row["i:objectId"] for row in rows} == {one["object"] for one in best}
    everything = client.get("/api/v1/anomaly", params={"n": 1000}).json()
    assert everything[:10] == rows
    times = [row["i:jd"] for row in everything]
    assert times == sorted(times, reverse=True)
    expected = {
        (night, one["object"]) for night in read_nights(board, "ztf") for one in read_top(board, "ztf", night, 10)
    }
    assert {(row["d:night"], row["i:objectId"]) for row in everything} == expected


def test_scores_have_finks_direction(client: httpx.Client, board: redis.Redis) -> None:
    for row in client.get("/api/v1/anomaly", params={"n": 1000}).json():
        details = json.loads(board.hget(key("ztf", "details", row["d:night"]), row["i:objectId"]) or b"")
        assert row["d:anomaly_score"] == -details["raw"]["frozen"] < 0
        assert row["d:score"] == details["score"]
        assert 0 <= row["d:score"] <= 1
        assert row["i:candid"] == int(row["d:event"]) == int(details["event"])


@pytest.mark.parametrize(
    ("given", "nights"),
    [
        ({"start_date": "2026-11-21"}, {"2026-11-20"}),  # Palomar's nights are mornings in UTC
        ({"start_date": "2026-11-20", "stop_date": "2026-11-20"}, {"2026-11-19"}),
        ({"stop_date": "2026-11-19"}, {"2026-11-18"}),
        ({"start_date": "2026-11-22"}, set()),
        ({"start_date": "0001-01-01", "stop_date": "9999-12-31"}, {"2026-11-18", "2026-11-19", "2026-11-20"}),
    ],
)
def test_dates_are_utc_days_inclusive(client: httpx.Client, given: dict[str, str], nights: set[str]) -> None:
    rows = client.get("/api/v1/anomaly", params={"n": 1000, "per_night": 1000, **given}).json()
    assert {row["d:night"] for row in rows} == nights
    days = [row["d:time"][:10] for row in rows]
    assert all(given.get("start_date", "") <= day <= given.get("stop_date", "9999") for day in days)
    everything = client.get("/api/v1/anomaly", params={"n": 1000, "per_night": 1000}).json()
    inside = [
        row for row in everything if given.get("start_date", "") <= row["d:time"][:10] <= given.get("stop_date", "9999")
    ]
    assert rows == inside


def test_the_query_string_wins_over_the_body(client: httpx.Client) -> None:
    rows = client.post("/api/v1/anomaly?n=2", json={"n": 5, "columns": ["i:objectId", "i:jd"]}).json()
    assert [list(row) for row in rows] == [["i:objectId", "i:jd"]] * 2


def test_unknown_columns(client: httpx.Client) -> None:
    [row] = client.get("/api/v1/anomaly", params={"n": 1, "columns": "i:jd, v:classification ,<b>"}).json()
    assert list(row) == ["i:jd", "v:classification"]
    assert row["v:classification"] is None


def pages(client: httpx.Client, **params: Any) -> Iterator[list[dict[str, Any]]]:
    r = client.get("/api/v1/anomaly", params=params)
    for _ in range(1_000):
        assert r.status_code == 200, r.text
        yield r.json()
        if "next" not in r.links:
            return
        r = client.get(r.links["next"]["url"])
    pytest.fail("the pages have no end")


@pytest.mark.parametrize("order", ["time", "score"])
@pytest.mark.parametrize("n", [1, 7, 10, 29, 30])
def test_pages_are_the_whole_in_pieces(client: httpx.Client, order: str, n: int) -> None:
    whole = client.get("/api/v1/anomaly", params={"n": 1000, "order": order}).json()
    found = list(pages(client, n=n, order=order))
    assert [row for page in found for row in page] == whole
    assert len(found) == -(-len(whole) // n)


def test_by_score(client: httpx.Client) -> None:
    rows = client.get("/api/v1/anomaly", params={"n": 1000, "order": "score", "per_night": 100}).json()
    scores = [row["d:score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    least = scores[20]
    above = client.get("/api/v1/anomaly", params={"n": 1000, "per_night": 100, "min_score": least}).json()
    assert {(row["d:night"], row["i:objectId"]) for row in above} == {
        (row["d:night"], row["i:objectId"]) for row in rows if row["d:score"] >= least
    }


def test_one_night(client: httpx.Client, board: redis.Redis) -> None:
    rows = client.get("/api/v1/anomaly", params={"n": 1000, "night": "2026-11-19", "order": "score"}).json()
    assert [row["i:objectId"] for row in rows] == [one["object"] for one in read_top(board, "ztf", "2026-11-19", 1000)]
    assert [row["d:rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert np.all(np.diff([row["d:rank"] for row in rows]) == 1)


def test_other_streams_have_their_own_columns(client: httpx.Client) -> None:
    rows = client.get("/api/v1/anomaly", params={"stream": "behaviour", "n": 3}).json()
    assert len(rows) == 3
    assert {"i:objectId", "i:transaction_amount", "d:score", "d:reasons", "d:model"} <= set(rows[0])
    assert "i:jd" not in rows[0]
    times = [row["d:time"] for row in rows]
    assert times == sorted(times, reverse=True)
