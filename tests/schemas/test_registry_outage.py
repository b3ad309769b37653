"""A registry that is down, seen through a patient client: wait for it, and never blame the messages."""

import io
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import fastavro
import pytest

from skimstream.schemas.columns import Wanted
from skimstream.schemas.decode import Decoder
from skimstream.schemas.errors import DecodeError, SkimError
from skimstream.schemas.fetch import Host
from skimstream.schemas.registry import EVENTS, MISSES_KEPT, OUTAGE_SECONDS, Registry, RegistryUnavailable
from stage.webserver import WebServer

SCHEMA: dict[str, Any] = {"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}]}
TTL = 60.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Double:
    """A registry that knows `ids`, and answers with `status` instead while that is set. Counts what it is asked."""

    def __init__(self) -> None:
        self.ids, self.status, self.hold = {7}, 0, threading.Event()
        self.hold.set()
        self.server = WebServer(self.answer)
        self.asked, self.url = self.server.asked, self.server.url

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.hold.wait(5)
        known = int(request.path.rpartition("/")[2]) in self.ids
        body = json.dumps({"schema": json.dumps(SCHEMA)}).encode() if known and not self.status else b""
        request.send_response(self.status or (200 if known else 404))
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def stop(self) -> None:
        self.hold.set()
        self.server.stop()


@pytest.fixture
def double() -> Iterator[Double]:
    one = Double()
    yield one
    one.stop()


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def message(schema_id: int, x: int = 3) -> bytes:
    out = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), {"x": x})
    return out.getvalue()


def told(registry: Registry) -> dict[str, int]:
    """The events that came to pass."""
    assert tuple(registry.counts) == EVENTS
    return {event: count for event, count in registry.counts.items() if count}


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 504, 599])
def test_a_server_that_speaks_of_itself_is_an_outage_and_is_asked_again_soon(double: Double, status: int) -> None:
    clock = Clock()
    registry = Registry(double.url, ttl=TTL, clock=clock, patient=True)
    double.status = status
    for _ in range(20):
        with pytest.raises(RegistryUnavailable, match=f"status {status}") as caught:
            registry.schema(7)
        assert caught.value.schema_id == 7
        assert 0 < caught.value.retry_after <= OUTAGE_SECONDS
    assert double.asked.total() == 1
    assert told(registry) == {"outage": 1, "held_back": 19}
    clock.now += OUTAGE_SECONDS
    double.status = 0
    assert json.loads(registry.schema(7)) == SCHEMA
    assert told(registry) == {"outage": 1, "held_back": 19, "fetched": 1}


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_an_unknown_id_is_the_messages_fault_however_patient(double: Double, status: int) -> None:
    registry = Registry(double.url, ttl=TTL, clock=Clock(), patient=True)
    double.status = status
    for _ in range(5):
        with pytest.raises(DecodeError) as caught:
            registry.schema(8)
        assert caught.value.reason == "schema_unknown"
    assert not registry.known(8)
    assert double.asked == {"/schemas/ids/8": 1}
    assert told(registry) == {"failed": 1, "held_back": 5}
    double.status = 0
    assert registry.known(7)  # others are asked for at once


def test_nobody_listening_is_an_outage_and_costs_no_timeout_a_message() -> None:
    registry = Registry(nobody(), clock=Clock(), patient=True)
    for schema_id in range(2 * MISSES_KEPT):  # nor does it look like a storm of unknown ids
        with pytest.raises(RegistryUnavailable, match="asked again in 10 s"):
            registry.known(schema_id)
    assert told(registry) == {"outage": 1, "held_back": 2 * MISSES_KEPT - 1}


def test_a_timeout_is_an_outage_and_its_end_is_noticed(double: Double) -> None:
    clock = Clock()
    registry = Registry(double.url, timeout=0.1, ttl=TTL, clock=clock, patient=True)
    double.hold.clear()
    with pytest.raises(RegistryUnavailable, match=r"no answer of .* within 0\.1 s"):
        registry.schema(7)
    clock.now += OUTAGE_SECONDS
    with pytest.raises(RegistryUnavailable, match="still busy"):
        registry.schema(7)
    double.hold.set()
    registry._host._thread.join(5)  # type: ignore[union-attr]  # noqa: SLF001
    clock.now += OUTAGE_SECONDS
    assert registry.known(7)
    assert told(registry) == {"outage": 2, "fetched": 1}


def test_what_is_at_hand_needs_no_registry(double: Double, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/8.avsc").write_text(json.dumps(SCHEMA))
    places: dict[str, Any] = {"folder": tmp_path / "folder", "cache": tmp_path / "cache", "patient": True}
    first = Registry(double.url, **places)
    first.schema(7)
    double.status = 503
    assert first.known(7)
    assert first.known(8)
    again = Registry(double.url, **places)
    assert again.known(7)
    assert again.known(8)
    with pytest.raises(RegistryUnavailable):
        again.known(9)
    assert told(first) == {"fetched": 1, "memory": 1, "outage": 1, "folder": 1}
    assert told(again) == {"disk": 1, "outage": 1, "folder": 1, "held_back": 1}


def test_an_impatient_registry_gives_the_message_up() -> None:
    registry = Registry(nobody(), clock=Clock())
    for schema_id in (7, 8):
        with pytest.raises(DecodeError) as caught:
            registry.schema(schema_id)
        assert caught.value.reason == "schema_unknown"
    assert told(registry) == {"outage": 1, "held_back": 1}


def test_one_id_that_makes_an_impatient_registry_stumble_silences_no_other(double: Double) -> None:
    registry = Registry(double.url, clock=Clock())
    double.status = 500
    assert not registry.known(9)
    double.status = 0
    assert registry.known(7)


@pytest.mark.parametrize("framing", ["auto", "confluent"])
def test_a_batch_comes_through_whole_after_an_outage(double: Double, framing: Any) -> None:
    clock = Clock()
    registry = Registry(double.url, clock=clock, patient=True)
    decoder = Decoder(Wanted(integers=("x",)), framing, registry=registry)
    double.status = 503
    batch = [b"rubbish", message(7, 1), message(8), message(7, 2)]
    for _ in range(3):
        with pytest.raises(RegistryUnavailable):
            decoder.decode(batch)
    clock.now += OUTAGE_SECONDS
    double.status = 0
    decoded = decoder.decode(batch)
    assert decoded.columns.integer("x").tolist() == [1, 2]
    assert [(one.index, one.error.reason) for one in decoded.rejected][1:] == [(2, "schema_unknown")]
    assert double.asked == {"/schemas/ids/7": 2, "/schemas/ids/8": 1}


def test_an_outage_is_no_decode_error() -> None:
    assert issubclass(RegistryUnavailable, SkimError)
    assert not issubclass(RegistryUnavailable, DecodeError)


def test_ids_that_no_registry_gives_out_are_not_asked_for(double: Double) -> None:
    registry = Registry(double.url, patient=True)
    double.status = 503
    assert not registry.known((1 << 32) - 1)
    assert not double.asked


def test_a_question_right_after_an_answer_finds_nobody_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(queue.SimpleQueue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            super().put(item, block, timeout)
            time.sleep(0.05)  # as a busy machine would: the answer is there, its thread not yet gone

    monkeypatch.setattr(queue, "SimpleQueue", Slow)
    host = Host("http://registry", 5)
    assert [host.within(lambda deadline: "answer") for _ in range(3)] == ["answer"] * 3
