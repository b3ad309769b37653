"""Hostile and mistaken requests get problem documents that name what is wrong; nothing inside ever shows."""

import json
import socket
from typing import Any

import httpx
import pytest
import redis

from skimstream.api.gate import Limits
from skimstream.api.limits import CLIENTS, Buckets, Rate
from skimstream.consumer.board import key
from stage.boarded import UNLIMITED, client_of

TOKEN = "correct-horse"  # noqa: S105 - of these tests alone


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "Traceback" not in response.text
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    return found


@pytest.mark.parametrize(
    ("path", "params", "argument"),
    [
        ("anomaly", {"n": "0"}, "n"),
        ("anomaly", {"n": "10001"}, "n"),
        ("anomaly", {"n": "ten"}, "n"),
        ("anomaly", {"n": "9" * 5_000}, "n"),
        ("anomaly", {"stop_date": "2026-02-30"}, "stop_date"),
        ("anomaly", {"start_date": "20261121"}, "start_date"),
        ("anomaly", {"start_date": "1763683200"}, "start_date"),
        ("anomaly", {"startdate": "2026-11-21"}, "startdate"),
        ("anomaly", {"output-format": "xlsx"}, "output-format"),
        ("anomaly", {"stream": "ztf}:top:{"}, "stream"),
        ("anomaly", {"stream": "nobody"}, "stream"),
        ("anomaly", {"min_score": "nan"}, "min_score"),
        ("anomaly", {"min_score": "2"}, "min_score"),
        ("anomaly", {"order": "rank"}, "order"),
        ("anomaly", {"columns": "nothing"}, "columns"),
        ("anomaly", {"columns": ",".join(f"i:c{one}" for one in range(201))}, "columns"),
        ("anomaly", {"cursor": "W10"}, "cursor"),
        ("anomaly", {"cursor": "ÿ"}, "cursor"),
        ("anomaly", {"cursor": "a" * 1_001}, "cursor"),
        ("anomaly", {"per_night": "100000"}, "per_night"),
        ("objects", {}, "objectId"),
        ("objects", {"objectId": " , "}, "objectId"),
        ("objects", {"objectId": ",".join(map(str, range(201)))}, "objectId"),
        ("objects", {"objectId": "a", "withcutouts": "True"}, "withcutouts"),
        ("schema", {"stream": "nobody"}, "stream"),
        ("explain/ztf/nobody", {}, "event"),
        ("explain/nobody/nobody", {}, "stream"),
    ],
)
def test_a_wrong_argument_is_named(client: httpx.Client, path: str, params: dict[str, str], argument: str) -> None:
    response = client.get(f"/api/v1/{path}", params=params)
    found = problem(response, 404 if "nobody" in f"{path}{params}" else 400)
    assert [one["argument"] for one in found["errors"]] == [argument]


@pytest.mark.parametrize(
    "body", [b"[", b"[]", b"3", b"[" * 100_000, b'{"n": NaN}', b'{"n": {}}', b'{"stream": "\\ud800"}', b"\xff"]
)
def test_a_body_that_is_no_arguments(client: httpx.Client, body: bytes) -> None:
    problem(client.post("/api/v1/anomaly", content=body), 400)


def test_paths_and_methods_that_are_not_there(client: httpx.Client) -> None:
    problem(client.get("/api/v2/anomaly"), 404)
    problem(client.get("/.env"), 404)
    problem(client.delete("/api/v1/anomaly"), 405)


def test_a_body_has_a_limit(board: redis.Redis) -> None:
    with client_of(board, limits=Limits(rate=UNLIMITED.rate, body_bytes=1_000, body_seconds=0.2)) as client:
        assert client.post("/api/v1/anomaly", content=b"{" + b" " * 998 + b"}").status_code == 200
        problem(client.post("/api/v1/anomaly", content=b" " * 1_001), 413)
        problem(client.post("/api/v1/anomaly", content=iter([b" " * 600, b" " * 600])), 413)
        port = httpx.URL(str(client.base_url)).port
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
            slow.sendall(b"POST /api/v1/anomaly HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_the_token(board: redis.Redis) -> None:
    with client_of(board, TOKEN) as client:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer é"}):
            encoded = {name.encode(): value.encode() for name, value in given.items()}
            for path in ("/api/v1/anomaly", "/docs", "/openapi.json", "/metrics", "/api/v1/streams"):
                assert problem(client.get(path, headers=encoded), 401)
        assert client.get("/api/v1/anomaly", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/live").status_code == client.get("/ready").status_code == 200


def test_the_rate(board: redis.Redis) -> None:
    now = [0.0]
    with client_of(board, limits=Limits(rate=Rate(per_second=0.5, burst=3)), clock=lambda: now[0]) as client:
        assert [client.get("/api/v1/anomaly?n=1").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = client.get("/docs")
        assert problem(refused, 429)
        assert refused.headers["retry-after"] == "2"
        assert client.get("/live").status_code == 200
        now[0] = 2.0
        assert [client.get("/api/v1/anomaly?n=1").status_code for _ in range(2)] == [200, 429]


def test_the_least_recent_client_is_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 1), clock=lambda: 0.0)
    assert [buckets.wait("first"), buckets.wait("first")] == [0.0, 1.0]
    for one in range(CLIENTS):
        buckets.wait(str(one))
    assert buckets.wait("first") == 0.0


def test_another_hosts_name(board: redis.Redis) -> None:
    with client_of(board, limits=Limits(rate=UNLIMITED.rate, hosts=("localhost", "127.0.0.1"))) as client:
        assert client.get("/live").status_code == 200
        assert client.get("/live", headers={"Host": "LOCALHOST:80"}).status_code == 200
        problem(client.get("/live", headers={"Host": "evil.example"}), 421)


def test_redis_is_gone() -> None:
    gone = redis.Redis.from_url("redis://user:hunter2@127.0.0.1:1/0", socket_timeout=1, retry=None)
    with client_of(gone) as client:
        for path in ("/ready", "/api/v1/anomaly", "/api/v1/streams", "/api/v1/objects?objectId=a"):
            response = client.get(path)
            assert "Redis doesn't answer" in problem(response, 503)["detail"]
            assert "hunter2" not in response.text
            assert response.headers["retry-after"]
        assert client.get("/live").status_code == 200


def test_nothing_on_the_board(store: redis.Redis) -> None:
    with client_of(store) as client:
        assert client.get("/api/v1/anomaly").json() == []
        assert client.get("/api/v1/streams").json() == []
        assert "no worker has written" in problem(client.get("/ready"), 503)["detail"]


def test_an_unexpected_error_shows_nothing(store: redis.Redis) -> None:
    store.zadd(key("ztf", "top", "2026-11-21"), {"a": 0.5})
    store.hset(key("ztf", "details", "2026-11-21"), "a", "secret, not JSON")
    with client_of(store) as client:
        response = client.get("/api/v1/anomaly")
        assert "log" in problem(response, 500)["detail"]
        assert "secret" not in response.text
        assert (
            'skim_http_requests_total{method="GET",route="/api/v1/anomaly",status="500"} 1.0'
            in client.get("/metrics").text
        )


XSS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</title><svg/onload=alert(1)>",
    "{{7*7}}${7*7}",
    '=HYPERLINK("http://evil")',
    "'; DROP TABLE x;--",
    "\u202e\u2028\ufeff",
)


def test_texts_of_a_stream_are_data(store: redis.Redis) -> None:
    details = {"score": 0.5, "raw": {"frozen": 0.4}, "reasons": [{"words": XSS[0]}], "model": XSS[1]}
    for text in XSS:
        record = {"event": text, "night": "2026-11-21", "candidate": {"geolocation_city": text}, **details}
        store.zadd(key("behaviour", "top", "2026-11-21"), {text: 0.5})
        store.hset(key("behaviour", "details", "2026-11-21"), text, json.dumps(record))
    with client_of(store) as client:
        response = client.get("/api/v1/anomaly", params={"stream": "behaviour", "n": 100})
        assert {row["i:objectId"] for row in response.json()} == set(XSS)
        assert {row["i:geolocation_city"] for row in response.json()} == set(XSS)
        answers = [response]
        for text in XSS:
            one = client.get("/api/v1/objects", params={"stream": "behaviour", "objectId": text})
            assert [row["i:objectId"] for row in one.json()] == [text]
            answers += [one, client.get("/api/v1/explain/behaviour/x", params={"night": text})]
        for one in answers:
            assert one.headers["content-type"] in ("application/json", "application/problem+json")
            assert one.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in one.headers["content-security-policy"]
