"""CSV, Parquet and VOTable open in pandas and astropy with the right types, ids exact to the last digit."""

import io
import json
import sys
import warnings
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import redis

from skimstream.consumer.board import key
from stage.boarded import client_of


def read_votable(content: bytes) -> Any:
    from astropy.io.votable import parse_single_table

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return parse_single_table(io.BytesIO(content)).to_table()


def asked(client: httpx.Client, output_format: str, **params: Any) -> httpx.Response:
    answer = client.get("/api/v1/anomaly", params={"n": 100, "output-format": output_format, **params})
    assert answer.status_code == 200, answer.text
    return answer


def test_parquet(client: httpx.Client) -> None:
    rows = asked(client, "json").json()
    pdf = pd.read_parquet(io.BytesIO(asked(client, "parquet").content))
    assert list(pdf.columns) == list(rows[0])
    assert pdf["i:candid"].dtype == np.int64
    assert pdf["i:candid"].tolist() == [int(row["d:event"]) for row in rows]
    assert pdf["i:candid"].min() > 2**53
    assert pdf["i:jd"].dtype == np.float64
    assert pdf["i:jd"].tolist() == [row["i:jd"] for row in rows]
    assert pdf["d:cdsxmatch"].isna().all()
    assert [json.loads(text) for text in pdf["d:reasons"]] == [row["d:reasons"] for row in rows]


def test_votable(client: httpx.Client) -> None:
    rows = asked(client, "json").json()
    answer = asked(client, "votable")
    table = read_votable(answer.content)
    assert table.colnames == [name.replace(":", "_") for name in rows[0]]
    assert table["i_candid"].dtype == np.int64
    assert table["i_candid"].tolist() == [row["i:candid"] for row in rows]
    assert table["i_jd"].dtype == np.float64
    assert table["i_jd"].tolist() == [row["i:jd"] for row in rows]
    assert table["i_objectId"].tolist() == [row["i:objectId"] for row in rows]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_csv(client: httpx.Client) -> None:
    rows = asked(client, "json").json()
    pdf = pd.read_csv(io.BytesIO(asked(client, "csv").content))
    assert pdf["i:candid"].dtype == np.int64
    assert pdf["i:candid"].tolist() == [row["i:candid"] for row in rows]
    assert pdf["d:score"].tolist() == [row["d:score"] for row in rows]
    assert [json.loads(text) for text in pdf["d:lc_features_g"]] == [json.loads(row["d:lc_features_g"]) for row in rows]


@pytest.mark.parametrize("output_format", ["json", "csv", "parquet", "votable"])
def test_no_rows(client: httpx.Client, output_format: str) -> None:
    answer = asked(client, output_format, start_date="2027-01-01")
    if output_format == "json":
        assert answer.json() == []
    elif output_format == "csv":
        assert len(pd.read_csv(io.BytesIO(answer.content))) == 0
    elif output_format == "parquet":
        assert pd.read_parquet(io.BytesIO(answer.content))["i:candid"].dtype == np.int64
    else:
        assert len(read_votable(answer.content)) == 0


HOSTILE = ("=1+1", "<a>&amp;]]>", "\x00\x1b\ufffe", 'q"u,o\nte', "élan\u2028", "\U0001f300")


def test_hostile_texts_and_nulls(store: redis.Redis) -> None:
    for place, text in enumerate(HOSTILE):
        candidate = {"geolocation_city": text, "transaction_amount": None if place else 1.5}
        details = {"event": text, "score": 0.5, "candidate": candidate}
        store.zadd(key("behaviour", "top", "2026-11-21"), {text: 0.5 - place / 100})
        store.hset(key("behaviour", "details", "2026-11-21"), text, json.dumps(details))
    names = "i:objectId,i:geolocation_city,i:transaction_amount"
    options = {"stream": "behaviour", "columns": names, "order": "score"}
    with client_of(store) as client:
        found = asked(client, "json", **options).json()
        texts = [row["i:objectId"] for row in found]
        assert set(texts) == set(HOSTILE)
        pdf = pd.read_parquet(io.BytesIO(asked(client, "parquet", **options).content))
        assert pdf["i:objectId"].tolist() == texts
        assert pdf["i:transaction_amount"].dtype == np.float64
        csv = pd.read_csv(io.BytesIO(asked(client, "csv", **options).content), lineterminator=None)
        assert csv["i:objectId"].tolist() == ["'=1+1" if text == "=1+1" else text for text in texts]
        table = read_votable(asked(client, "votable", **options).content)
        clean = [text.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ufffe", "\ufffd") for text in texts]
        assert [str(text) for text in table["i_objectId"]] == clean
        assert np.isfinite(np.ma.filled(table["i_transaction_amount"], np.nan)).sum() == 1


@pytest.mark.parametrize(("output_format", "library"), [("parquet", "pyarrow"), ("votable", "astropy.io")])
def test_a_library_that_is_not_there(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, output_format: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    answer = client.get("/api/v1/anomaly", params={"output-format": output_format})
    assert answer.status_code == 501
    assert answer.json()["errors"][0]["argument"] == "output-format"
    assert "pip install" in answer.json()["detail"]
