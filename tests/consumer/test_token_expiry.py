"""Tokens of a few seconds: a worker reads across their ends, says when it gets no more, and goes on when it does."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from brokers.server import Unavailable
from skimstream.cli.models import load_model
from skimstream.consumer.config import Settings, load_settings
from skimstream.consumer.doctor.brokers import brokers
from skimstream.consumer.run import BrokerLog, Report, kafka_options, run
from skimstream.consumer.worker import Worker
from stage.authority import Authority
from stage.guarded import Guarded
from stage.issuer import Issuer
from stage.listed import sessions

LIFE = 5.0  # of a token, in seconds; brokers ask for a new one after 4
TOPIC = "events"


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_refused_client_is_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """librdkafka itself with an issuer, and no broker: it asks for a token first."""
    told: list[str] = []
    with Issuer(tmp_path) as issuer:
        oidc = {"sasl.oauthbearer.token.endpoint.url": issuer.url, "security.protocol": "SASL_PLAINTEXT"}
        kafka = {"bootstrap": "127.0.0.1:1", "user": "me", "password": "no", "options": oidc}
        settings = load_settings(None, {"preset": "gcn", "topic": "t", "kafka": kafka})
        log = BrokerLog(told.append)
        options = {**kafka_options(settings), "error_cb": log, "group.id": "g"}
        consumer = Consumer(options, logger=logging.Logger("mute"))
        try:
            wait_for(lambda: consumer.poll(0.05) is None and "authentication" in told, "no refusal was heard of", 10)
        finally:
            consumer.close()
        assert (issuer.asked, issuer.given) == (1, 0)
    said = next(record for record in caplog.records if vars(record)["error"] == "_AUTHENTICATION")
    assert "invalid_client" in vars(said)["detail"]
    assert "client id and secret" in vars(said)["do"]


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with Issuer(tmp_path) as issuer:
        issuer.clients["wire"] = "right"
        issuer.life = LIFE
        yield issuer


@pytest.fixture
def kafka(tmp_path: Path, issuer: Issuer) -> Iterator[Guarded]:
    server = Guarded(Authority(tmp_path), issuer, {}, reauthenticate_ms=4_000)
    try:
        server.start()
        server.create_topic(TOPIC, 1)
        server.allow("wire", TOPIC, "wire-")
        yield server
    except Unavailable as reason:
        pytest.skip(str(reason))
    finally:
        server.close()


class Running:
    """A worker in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.stop, self.workers, self.answers = threading.Event(), list[Worker](), list[Report | BaseException]()
        self.thread = threading.Thread(target=self._run, args=(settings,))
        self.thread.start()
        wait_for(lambda: bool(self.workers) or bool(self.answers), "it doesn't start")

    def _run(self, settings: Settings) -> None:
        try:
            model = load_model("behaviour", None)
            self.answers.append(run(settings, model, self.stop.is_set, began=self.workers.append))
        except BaseException as error:
            self.answers.append(error)

    @property
    def consumed(self) -> int:
        return self.workers[0].tally.consumed

    def errors(self, kind: str) -> float:
        value = self.workers[0].metrics.registry.get_sample_value("skim_kafka_errors_total", {"kind": kind})
        assert value is not None
        return value

    def end(self) -> None:
        self.stop.set()
        self.thread.join(90)
        assert not self.thread.is_alive()


@pytest.mark.nightly
@pytest.mark.parametrize("status", [401, 503])
def test_a_worker_reads_across_the_ends_of_tokens(
    kafka: Guarded, issuer: Issuer, store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    options: dict[str, Any] = {
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "sasl.oauthbearer.token.endpoint.url": issuer.url,
    }
    login = {"user": "wire", "password": "right", "group": "wire-night"}
    settings = load_settings(
        None,
        {
            "preset": "gcn",
            "stream": "behaviour",
            "topic": TOPIC,
            "framing": "plain",
            "kafka": {"bootstrap": kafka.doors["tokens"], "options": options, **login},
            "outgoing": {"bootstrap": kafka.bootstrap},
            "redis": {"url": store_url},
            "metrics": {"port": 0},
        },
    )
    events = sessions(4_000)

    def any_of(field: str, text: str) -> list[str]:
        said = [vars(record) for record in caplog.records if record.getMessage() == "kafka"]
        return [one["detail"] for one in said if text in one.get(field, "")]

    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    sent = 0

    def send(count: int) -> int:
        nonlocal sent
        for event in events[sent : sent + count]:
            producer.produce(TOPIC, event)
        sent += count
        assert producer.flush(20) == 0
        return sent

    running = Running(settings)
    try:
        send(10)
        wait_for(lambda: running.consumed == sent, "nothing was read")
        began, given = time.monotonic(), issuer.given
        while time.monotonic() - began < 4 * LIFE:
            send(10)
            wait_for(lambda: running.consumed == sent, "it stopped reading")
            time.sleep(0.2)
        assert issuer.given - given >= 4
        assert any_of("means", "the brokers refuse the user name") == []

        issuer.refuses, before = status, running.errors("authentication")
        send(10)  # some may be read yet, with the token at hand
        wait_for(lambda: running.errors("authentication") > before + 10, "nobody hears of it")
        wait_for(lambda: any_of("means", "the brokers refuse the token") != [], "nobody reads of it")
        assert running.errors("down") > 0
        (found,) = [one for one in brokers(settings, settings.topics) if one.check == "kafka"]
        assert found.id == ("kafka-token" if status == 401 else "kafka-token-endpoint")
        send(10)
        assert running.consumed < sent
        assert not running.answers, "it gave up"

        issuer.refuses = 0
        wait_for(lambda: running.consumed == sent, "it doesn't go on")
        calm = running.errors("down")
        send(10)
        wait_for(lambda: running.consumed == sent, "it stopped reading")
        assert running.errors("down") <= calm + 1
    finally:
        running.end()
    (report,) = running.answers
    assert isinstance(report, Report), report
    assert (report.tally.consumed, report.tally.scored, report.tally.dead) == (sent, sent, {})
