"""What `skim serve` costs: answers of `/api/v1/anomaly?n=100` on 90 nights of 1,000 rows, and on more nights of fewer;
and whether a worker notices 200 slow connections. `make bench-serve`; the last line is one JSON object.

Rows are the boards of tests/stage/boarded.py over again, with other names, nights and times: 8 kB each, 700 MB in all.
"""

import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from skimstream.cli.embedded import embedded_store, free_port
from skimstream.consumer.board import key, read_nights
from stage.boarded import fill
from stage.listed import Listed, Topic, recorder, sessions

ASKED = {
    "as Fink's": "n=100",
    "by score": "n=100&order=score",
    "a night": "n=100&order=score&night={night}",
}
REQUESTS, WARM = 400, 30
EVENTS, USERS, SECONDS_APART = 30_000, 2_000, 1.0
ROUNDS = 7
KEPT = 100  # lists that are full soon: what is measured is scoring, not the filling of lists


@contextmanager
def served(url: str) -> Iterator[int]:
    """A `skim serve` of its own process; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "skimstream.cli.main", "serve", "--redis", url, "--port", str(port)]
    process = subprocess.Popen([*command, "--per-second", "1e6", "--burst", "1000000"], stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def multiply(store: redis.Redis, nights: int, rows: int) -> str:
    """A board of so many nights with so many rows each, from the rows that are there; the name of its latest night."""
    source: Any = [one for night in read_nights(store, "ztf") for one in store.hvals(key("ztf", "details", night))]
    samples = [json.loads(one) for one in source]
    store.flushall()
    store.hset(key("ztf", "offsets"), "t/0", 1)
    for number in range(nights):
        name, jd = (date(2026, 11, 21) - timedelta(days=number)).isoformat(), 2_461_366.5 - number
        top, details = {}, {}
        for row in range(rows):
            one = samples[row % len(samples)]
            one["night"], one["score"] = name, 0.9 + 0.1 * row / rows
            one["event"], one["candidate"]["jd"] = str(10**15 + number * rows + row), jd + row / 1e5
            thing = f"ZTF26{number:04d}{row:05d}"
            top[thing], details[thing] = one["score"], json.dumps(one, separators=(",", ":"))
        store.zadd(key("ztf", "top", name), top)
        store.hset(key("ztf", "details", name), mapping=details)
    return "2026-11-21"


def latencies(port: int, query: str) -> list[float]:
    """Milliseconds of each of `REQUESTS` answers over one connection, sorted."""
    connection, taken = HTTPConnection("127.0.0.1", port), []
    for number in range(REQUESTS + WARM):
        began = time.perf_counter()
        connection.request("GET", f"/api/v1/anomaly?{query}")
        answer = connection.getresponse()
        body = answer.read()
        taken.append((time.perf_counter() - began) * 1e3)
        assert answer.status == 200, body
        assert number or len(json.loads(body)) == 100
    return sorted(taken[WARM:])


def answers(store: redis.Redis, port: int, nights: int, rows: int) -> dict[str, list[float]]:
    """Median and 99th percentile in milliseconds, by what is asked for."""
    latest, found = multiply(store, nights, rows), {}
    for name, query in ASKED.items():
        taken = latencies(port, query.format(night=latest))
        found[name] = [round(taken[len(taken) // 2], 2), round(taken[int(0.99 * len(taken))], 2)]
        middle, late = found[name]
        print(f"{nights:5} nights of {rows:5}  {name:10}  median {middle:6.2f} ms  p99 {late:6.2f} ms")
    return found


class Slow:
    """200 connections that take their time: half requests, answers hardly read, followers of the stream."""

    def __init__(self, port: int, stream: str) -> None:
        head = " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        kinds = [
            (50, f"GET /api/v1/anomaly{head}X-Slow: "),
            (50, f"GET /api/v1/anomaly?stream={stream}&n=10000&per_night=1000{head}\r\n"),
            (100, f"GET /api/v1/stream?stream={stream}{head}\r\n"),
        ]
        self.half: list[socket.socket] = []
        self.all: list[socket.socket] = []
        for count, text in kinds:
            for _ in range(count):
                one = socket.socket()
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                one.connect(("127.0.0.1", port))
                one.sendall(text.encode())
                self.all.append(one)
        self.half = self.all[:50]

    def linger(self) -> None:
        """One byte each, where there is one to send or to read."""
        for one in self.half:
            one.sendall(b"x")
        readable, _, _ = select.select(self.all[50:], [], [], 0)
        for one in readable:
            one.recv(64)

    def close(self) -> None:
        """They are gone."""
        for one in self.all:
            one.close()


def scoring(store: redis.Redis, messages: list[Any], slow: Slow | None) -> float:
    """Events a second of a worker, from the bytes to the board."""
    store.delete("nothing", *store.scan_iter(match="skim:{behaviour}:*"))
    store.hset(key("behaviour", "offsets"), "other/0", 1)
    worker = recorder(store, kept=KEPT, clock=time.time, checkpoint_seconds=10.0)
    source = Listed(Topic({0: messages}), iter(lambda: 500, None))
    lingered = began = time.perf_counter()

    def stopping() -> bool:
        nonlocal lingered
        if slow and time.perf_counter() - lingered >= SECONDS_APART:
            slow.linger()
            lingered = time.perf_counter()
        return source.done

    worker.run(source, stopping)
    return len(messages) / (time.perf_counter() - began)


def slowed(store: redis.Redis, port: int) -> dict[str, float]:
    """Rates without and with slow connections, in turn."""
    messages = sessions(EVENTS, users=USERS)
    scoring(store, messages, None)
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(scoring(store, messages, None))
        slow = Slow(port, "behaviour")
        time.sleep(1.0)  # so that all of them are being answered
        beside.append(scoring(store, messages, slow))
        slow.close()
        time.sleep(0.5)
        print(f"{alone[-1]:9,.0f} events/s alone  {beside[-1]:9,.0f} beside 200 slow connections")
    ratios = sorted(b / a for a, b in zip(alone, beside, strict=True))
    return {
        "alone": round(statistics.median(alone)),
        "beside": round(statistics.median(beside)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_least": round(ratios[0], 3),
    }


def main() -> None:
    """Print a line a measurement."""
    with ExitStack() as stack:
        url = stack.enter_context(embedded_store())
        store = redis.Redis.from_url(url)
        store.config_set("save", "")  # no snapshot of 700 MB meanwhile: two cores are few
        port = stack.enter_context(served(url))
        rate = slowed(store, port)
        by_nights = {}
        for nights, rows in ((90, 1_000), (100, 100), (1_000, 100)):
            store.flushall()
            fill(store)
            by_nights[f"{nights}x{rows}"] = answers(store, port, nights, rows)
        print(json.dumps({"milliseconds": by_nights, "slow_connections": rate, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
