"""What the page shows beside the lists: light curves, notable events, and whether anybody is at work."""

import time
from datetime import datetime
from typing import Any

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from skimstream.consumer.board import SILENT_SECONDS, key, read_nights, read_top, read_workers
from skimstream.consumer.pulse import Pulse
from stage.boarded import client_of

COLUMNS = "i:objectId,d:lightcurve,i:magpsf,i:jd"


def test_light_curves_are_there_if_asked_for(client: httpx.Client) -> None:
    asked: dict[str, str | int] = {
        "stream": "ztf",
        "order": "score",
        "n": 20,
        "columns": "i:objectId,d:lightcurve,i:magpsf,i:jd",
    }
    rows = client.get("/api/v1/anomaly", params=asked).json()
    limits = 0
    for row in rows:
        curve = row["d:lightcurve"]
        assert {len(values) for values in curve.values()} == {len(curve["jd"])}
        assert curve["jd"] == sorted(curve["jd"])
        assert (curve["jd"][-1], curve["mag"][-1]) == (round(row["i:jd"], 6), round(row["i:magpsf"], 4))
        for mag, sigma, limit, positive in zip(*(curve[n] for n in ("mag", "sigma", "limit", "positive")), strict=True):
            assert (mag is None) == (sigma is None) == (positive is None) != (limit is None)
            limits += limit is not None
        explained = client.get(f"/api/v1/explain/ztf/{row['i:objectId']}").json()
        assert explained["lightcurve"] == curve
    assert limits
    assert "d:lightcurve" not in client.get("/api/v1/anomaly").json()[0]
    [sessions] = client.get(
        "/api/v1/anomaly", params={"stream": "behaviour", "n": 1, "columns": "d:lightcurve,d:score"}
    ).json()
    assert sessions["d:lightcurve"] is None


def test_a_timeline_has_the_notable_events_in_order(client: httpx.Client, board: redis.Redis) -> None:
    night = next(one for one in read_nights(board, "behaviour") if board.exists(key("behaviour", "timeline", one)))
    known: Any = board.hkeys(key("behaviour", "timeline", night))
    for name in known:
        found = client.get(f"/api/v1/timeline/behaviour/{name.decode()}").json()
        assert (found["stream"], found["object"]) == ("behaviour", name.decode())
        assert all(one["severity"] in ("notable", "high") for one in found["events"])
        times = [one["candidate"]["transaction_date"] for one in found["events"]]
        assert times == sorted(times)
    best = next(one for one in read_top(board, "behaviour", night, 1_000) if one["severity"])
    events = client.get(f"/api/v1/timeline/behaviour/{best['object']}").json()["events"]
    assert {k: best[k] for k in ("event", "score", "severity", "night", "candidate")} in events
    assert client.get("/api/v1/timeline/behaviour/nobody").json()["events"] == []
    assert client.get("/api/v1/timeline/none/nobody").status_code == 404


def test_streams_say_whether_workers_are_at_it(store: redis.Redis) -> None:
    store.hset(key("ztf", "offsets"), "t/0", 1)
    with client_of(store) as client:
        assert client.get("/api/v1/streams").json()[0]["workers"] == {"alive": 0, "last_seen": None}
        begun = time.time()
        for name in ("one", "two"):
            Pulse(store, "ztf", name).beat()
        workers = client.get("/api/v1/streams").json()[0]["workers"]
        assert workers["alive"] == 2
        assert begun - 1 <= datetime.fromisoformat(workers["last_seen"]).timestamp() <= time.time()
    store.zadd(key("ztf", "workers"), {"one": begun - SILENT_SECONDS - 5, "old": begun - 90_000})
    assert (read_workers(store, "ztf").alive, store.zcard(key("ztf", "workers"))) == (1, 3)
    Pulse(store, "ztf", "two").beat()
    assert store.zcard(key("ztf", "workers")) == 2  # who was silent for a day is forgotten


def test_a_worker_that_isnt_heard_works_on() -> None:
    Pulse(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)), "ztf").beat()
