"""Server-sent events: rows as they are committed, none twice, none lost, whoever was away or reads slowly."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from skimstream.api import follow
from skimstream.api.log import Place, bounds
from skimstream.consumer.board import Board, Row, key
from skimstream.consumer.checkpoint import Checkpoints
from skimstream.consumer.fence import Fence
from stage.boarded import client_of

Event = tuple[str, str, Any]
NIGHT = 20_778


class Writer:
    """A partition that commits one batch after another."""

    def __init__(self, store: redis.Redis) -> None:
        self.board, self.offset = Board(store, "ztf"), 0
        Checkpoints(store, "ztf").begin("t/0", 0)

    def commit(self, *objects: str, night: int = NIGHT) -> None:
        rows = [
            Row(night, name, self.offset + i / 1_000, f"{self.offset}-{i}", "{}", json.dumps({"event": f"e{name}"}))
            for i, name in enumerate(objects)
        ]
        assert self.board.commit("t/0", Fence(self.offset, "0:new:0"), self.offset + 1, rows).applied
        self.offset += 1


@pytest.fixture
def writer(store: redis.Redis) -> Writer:
    return Writer(store)


def events(response: httpx.Response) -> Iterator[Event]:
    """Kind, id and data of each event as it comes."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields["id"], json.loads(fields["data"])
            fields = {}


def following(client: httpx.Client, last: str | None = None, **asked: str) -> Any:
    headers = {"Last-Event-ID": last} if last else {}
    return client.stream("GET", "/api/v1/stream", params={"stream": "ztf", **asked}, headers=headers)


def test_rows_come_as_they_are_committed_and_go_on_where_one_was(store: redis.Redis, writer: Writer) -> None:
    writer.commit("before")
    with client_of(store) as client:
        with following(client) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            told = events(response)
            kind, begun, _ = next(told)
            assert kind == "begin"
            writer.commit("a", "b")
            seen = [next(told), next(told)]
        assert [(kind, data["object"], data["event"], data["night"]) for kind, _, data in seen] == [
            ("row", "a", "ea", "2026-11-21"),
            ("row", "b", "eb", "2026-11-21"),
        ]
        writer.commit("c")
        for last, missed in ((seen[0][1], ["b", "c"]), (begun, ["a", "b", "c"])):
            with following(client, last) as response:
                told = events(response)
                assert next(told)[:2] == ("begin", last)
                assert [next(told)[2]["object"] for _ in missed] == missed


def test_who_comes_later_goes_on_where_it_was_whatever_others_have_read(store: redis.Redis, writer: Writer) -> None:
    for names in (["a"], ["b", "c"]):
        writer.commit(*names)
    first = str(bounds(store, "ztf")[0])
    with client_of(store) as client, following(client) as response:
        told = events(response)
        next(told)
        writer.commit("d", "e", "f")
        seen = [next(told) for _ in "def"]
        # Of what is in memory now, the one has to go further back, the other begins in the midst of it.
        for last, missed in ((first, "bcdef"), (seen[0][1], "ef")):
            with following(client, last) as later:
                after = events(later)
                next(after)
                for name in missed:  # one by one: if any were left out, the last would never come
                    assert next(after)[2]["object"] == name


def test_one_night_alone(store: redis.Redis, writer: Writer) -> None:
    writer.commit("x")
    with client_of(store) as client, following(client, night="2026-11-22") as response:
        told = events(response)
        next(told)
        writer.commit("a")
        writer.commit("b", night=NIGHT + 1)
        assert next(told)[2]["object"] == "b"


@pytest.mark.parametrize("last", ["1-0", "99999999999999-0"])
def test_an_id_that_the_log_no_longer_has_is_told(store: redis.Redis, writer: Writer, last: str) -> None:
    writer.commit("a")
    with client_of(store) as client, following(client, last) as response:
        kind, place, _ = next(events(response))
    assert (kind, place) == ("reset", str(bounds(store, "ztf")[1]))


def test_many_follow_and_all_get_all(store: redis.Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RECENT", 2)
    writer.commit("first")
    batches, each = 30, 20
    with client_of(store) as client:
        started = bounds(store, "ztf")[1]

        def read(number: int) -> list[str]:
            with following(client, str(started)) as response:
                told = events(response)
                next(told)
                return [next(told)[2]["object"] for _ in range(batches * each)]

        with ThreadPoolExecutor(8) as pool:
            readers = [pool.submit(read, number) for number in range(8)]
            for batch in range(batches):
                writer.commit(*(f"{batch}-{i}" for i in range(each)))
            whole = [f"{batch}-{i}" for batch in range(batches) for i in range(each)]
            assert all(one.result(30) == whole for one in readers)
        calls = store.info("commandstats")["cmdstat_xrange"]["calls"]
    assert calls < 8 * batches  # one reader for all of them, and a few that had to catch up


def test_a_quiet_line_stays_open_and_ends_within_its_hour(
    store: redis.Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "QUIET_SECONDS", 0.05)
    writer.commit("a")
    now = 0.0
    with client_of(store, clock=lambda: now) as client, following(client) as response:
        told = response.iter_bytes()
        text = next(told)
        while b": \n\n" not in text:
            text += next(told)
        now = follow.LONGEST_SECONDS
        text += b"".join(told)
    assert text.count(b"event: ") == 1  # nothing but the greeting


def test_no_more_than_so_many_follow(store: redis.Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_FOLLOWERS", 1)
    writer.commit("a")
    with client_of(store) as client:
        with following(client) as response:
            told = events(response)
            next(told)
            writer.commit("b")
            assert next(told)[2]["object"] == "b"
            refused = client.get("/api/v1/stream", params={"stream": "ztf"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        patience = time.monotonic() + 10
        while (status := client.get("/api/v1/stream", params={"stream": "nobody"}).status_code) == 503:
            assert time.monotonic() < patience  # who has gone makes room
        assert status == 404


def test_no_log_is_an_empty_one(store: redis.Redis) -> None:
    store.hset(key("ztf", "offsets"), "t/0", 1)
    assert bounds(store, "ztf") == (Place(0, 0), Place(0, 0))
    with client_of(store) as client, following(client) as response:
        assert next(events(response))[:2] == ("begin", "0-0")
