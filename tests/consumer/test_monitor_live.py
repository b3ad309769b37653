"""Anomalies into a running worker; what people and the topic get: exactly what rules ask for, soon, once."""

import io
import itertools
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import pytest
import redis
from confluent_kafka import Consumer, Producer

from skimstream.cli.models import load_model
from skimstream.consumer.config import load_settings
from skimstream.consumer.run import run
from skimstream.producer.schema import load
from stage.listed import Listed, Topic, recorder, sessions
from stage.receivers import Mailbox, Webhook

RULES = """
stream = "behaviour"
topic = "t"
redis.url = "{redis}"
metrics.port = 0
board.kept = 200
[kafka]
bootstrap = "{kafka}"
options = {{ "session.timeout.ms" = 6000 }}
[channels.hook]
url = "http://{hook}/alerts"
[channels.mail]
url_file = "{folder}/mail-url"
pace = 0
[[monitor]]
name = "odd"
min_score = 0.99
where = "candidate.transaction_amount > 20"
channels = ["hook", "mail"]
"""


def offline(store: redis.Redis, messages: list[bytes], bar: float) -> dict[str, float]:
    """What a library user finds, with the same model: ids and scores of the events above a bar."""
    worker = recorder(store, "aside")
    source = Listed(Topic({0: list(messages)}), itertools.repeat(200))
    worker.run(source, lambda: source.done)
    scores = {offset: float(memoryview(score).cast("d")[0]) for _, offset, score in worker.emitted}
    schema: Any = load("behaviour").parsed
    found = {}
    for offset, score in scores.items():
        record: Any = fastavro.schemaless_reader(io.BytesIO(messages[offset]), schema, None)
        amount = record["transaction_amount"]
        if score >= bar and amount is not None and amount > 20:
            found[f"t/0/{offset}"] = score
    return found


@contextmanager
def at_work(file: Path) -> Iterator[Callable[[], None]]:
    """A worker in a thread with a file of settings; yields what stops it."""
    stop, problems = threading.Event(), []
    settings = load_settings(file, {})
    ready = threading.Event()

    def work() -> None:
        try:
            run(settings, load_model("behaviour", None), stop.is_set, lambda port, problem: ready.set())
        except BaseException as error:
            problems.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(30)
        assert problems == []

    try:
        ready.wait(60)
        assert problems == []
        yield end
    finally:
        stop.set()
        thread.join(30)


def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def announced(broker: str, expected: int) -> list[tuple[bytes, dict[str, Any]]]:
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "people", "auto.offset.reset": "earliest"})
    consumer.subscribe(["skim.behaviour.anomalies"])
    found: list[tuple[bytes, dict[str, Any]]] = []

    def enough() -> bool:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            record: Any = next(iter(fastavro.reader(io.BytesIO(message.value() or b""))))
            found.append((message.key() or b"", record))
        return len(found) >= expected

    until(enough)
    consumer.poll(0.5)
    consumer.close()
    return found


def write(folder: Path, broker: str, store_url: str, hook: Webhook, mail: Mailbox, more: str = "") -> Path:
    (folder / "mail-url").write_text(mail.url + "\n")
    file = folder / "skim.toml"
    file.write_text(RULES.format(redis=store_url, kafka=broker, hook=hook.address, folder=folder) + more)
    return file


def test_people_get_exactly_what_the_rules_ask_for(
    broker: str, store: redis.Redis, store_url: str, tmp_path: Path
) -> None:
    messages = sessions(2_500)
    expected = offline(store, messages, 0.99)
    assert 10 < len(expected) < 100
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 1})
    producer.list_topics("t", timeout=10)
    with Webhook() as hook, Mailbox() as mail, at_work(write(tmp_path, broker, store_url, hook, mail)) as end:
        until(lambda: store.hget("skim:{behaviour}:offsets", "t/0") is not None)
        for first in range(0, len(messages), 50):
            for message in messages[first : first + 50]:
                producer.produce("t", message, partition=0)
            producer.flush()
            time.sleep(0.1)
        until(lambda: len(hook.posts) >= len(expected) and len(mail.mails) >= len(expected))
        time.sleep(0.5)  # for what should not come
        end()
    assert hook.ids == list(expected)  # each once, in order
    assert {post.headers["Idempotency-Key"] for post in hook.posts} == set(expected)
    found = [re.search(r"id (t/0/\d+)", text) for text in mail.texts]
    assert [match and match[1] for match in found] == list(expected)
    first = hook.posts[0].json
    assert first["score"] == expected[first["id"]]
    assert first["rules"] == ["odd"]
    assert first["reasons"][0]["words"] in mail.texts[0].replace("\n", " ")
    told = announced(broker, len(expected))
    assert sorted(record["id"] for _, record in told) == sorted(expected)
    assert all(key.decode() == record["object"] for key, record in told)
    delays = [post.at - post.json["timestamp"] / 1000 for post in hook.posts]
    assert statistics.median(delays) < 1.0, delays


def test_a_receiver_that_hangs_holds_nobody_else(
    broker: str, store: redis.Redis, store_url: str, tmp_path: Path
) -> None:
    messages = sessions(1_500)
    expected = offline(store, messages, 0.99)
    producer = Producer({"bootstrap.servers": broker})
    producer.list_topics("t", timeout=10)
    with Webhook() as hook, Mailbox() as mail:
        hook.hanging.set()
        with at_work(write(tmp_path, broker, store_url, hook, mail)) as end:
            for message in messages:
                producer.produce("t", message, partition=0)
            producer.flush()
            until(lambda: store.hget("skim:{behaviour}:offsets", "t/0") == b"1500")
            until(lambda: len(mail.mails) == len(expected))
            assert (hook.asked, hook.posts) == (1, [])  # one hangs, and all that comes after it waits
            hook.hanging.clear()
            until(lambda: len(hook.posts) == len(expected))
            end()
    assert hook.ids == list(expected)


def test_rules_change_without_a_restart_and_no_score_does(
    broker: str, store: redis.Redis, store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    messages = sessions(1_500)
    expected = [int(id.rpartition("/")[2]) for id in offline(store, messages, 0.99)]
    half = 750
    producer = Producer({"bootstrap.servers": broker})
    producer.list_topics("t", timeout=10)

    def give(part: list[bytes], upto: int) -> None:
        for message in part:
            producer.produce("t", message, partition=0)
        producer.flush()
        until(lambda: store.hget("skim:{behaviour}:offsets", "t/0") == str(upto).encode())

    with Webhook() as hook, Mailbox() as mail:
        file = write(tmp_path, broker, store_url, hook, mail)
        good = file.read_text()
        with at_work(file) as end:
            give(messages[:half], half)
            file.write_text(good.replace("min_score = 0.99", "min_scores = 0.99"))
            until(lambda: any(record.message == "the rules stay as they were" for record in caplog.records))
            refusal = next(one for one in caplog.records if one.message == "the rules stay as they were")
            assert "min_scores" in refusal.reason  # type: ignore[attr-defined]
            file.write_text(good.replace("min_score = 0.99", "min_score = 1.0"))
            until(lambda: any(record.message == "new rules" for record in caplog.records))
            give(messages[half:], 1_500)
            until(lambda: len(hook.posts) >= sum(one < half for one in expected))
            time.sleep(0.3)
            end()
    assert hook.ids == [f"t/0/{one}" for one in expected if one < half]
    assert store.zrange("skim:{behaviour}:top:2026-11-21", 0, -1, withscores=True) == store.zrange(
        "skim:{aside}:top:2026-11-21", 0, -1, withscores=True
    )
