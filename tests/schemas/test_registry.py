"""The registry client against a real server on loopback that misbehaves in every way we know."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skimstream.schemas.errors import DecodeError
from skimstream.schemas.fetch import ANSWER_BYTES, FetchError, Host
from skimstream.schemas.limits import SCHEMA_BYTES
from skimstream.schemas.reader import parse_schema
from skimstream.schemas.references import inline, read_local
from skimstream.schemas.registry import MISSES_KEPT, SCHEMAS_KEPT, Registry
from stage.webserver import Answer, WebServer

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
SCHEMA = '{"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}]}'
TTL = 60.0


class Double:
    """A registry whose answers the test sets, path by path; everything else is a 404. Counts what it is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.closing = threading.Event()
        self.server = WebServer(lambda request: self.answers.get(request.path, status(404))(request))
        self.asked, self.url = self.server.asked, self.server.url

    def stop(self) -> None:
        self.closing.set()
        self.server.stop()


@pytest.fixture
def double() -> Iterator[Double]:
    one = Double()
    yield one
    one.stop()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def body(data: bytes, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def says(schema: str, **more: Any) -> Answer:
    return body(json.dumps({"schema": schema, **more}).encode())


def error_of(registry: Registry, schema_id: int) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        registry.schema(schema_id)
    return caught.value


def counts(registry: Registry) -> tuple[int, int, int]:
    """Schemas, questions without an answer, and answers that broke a rule."""
    told = registry.counts
    return told["fetched"], told["failed"] + told["outage"], told["refused"]


def test_a_schema_is_fetched_once(double: Double) -> None:
    double.answers["/base/schemas/ids/7"] = says(SCHEMA)
    registry = Registry(double.url + "/base/")
    assert registry.known(7)
    assert registry.schema(7) == registry.schema(7) == SCHEMA.encode()
    assert double.asked == {"/base/schemas/ids/7": 1}
    assert counts(registry) == (1, 0, 0)


def test_memory_is_bounded(double: Double) -> None:
    for schema_id in range(SCHEMAS_KEPT + 1):
        double.answers[f"/schemas/ids/{schema_id}"] = says(SCHEMA)
    registry = Registry(double.url)
    for schema_id in (0, 1):
        registry.schema(schema_id)
    registry._memory.update(dict.fromkeys(range(2, SCHEMAS_KEPT), b""))  # noqa: SLF001
    registry.schema(SCHEMAS_KEPT)
    assert len(registry._memory) == SCHEMAS_KEPT  # noqa: SLF001
    registry.schema(1)
    registry.schema(0)
    assert double.asked["/schemas/ids/1"] == 1
    assert double.asked["/schemas/ids/0"] == 2


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "//169.254.169.254/",
        "https://127.0.0.1/",
        "http://127.0.0.1:1/",
        "http://[::1",
        "http://user@localhost/",
        "\x00",
    ],
)
def test_redirects_elsewhere_are_refused(double: Double, target: str) -> None:
    double.answers["/schemas/ids/7"] = status(302, Location=target)
    registry = Registry(double.url)
    start = time.monotonic()
    error = error_of(registry, 7)
    assert error.reason == "schema_unknown"
    assert time.monotonic() - start < 2
    assert double.asked == {"/schemas/ids/7": 1}
    assert counts(registry) in {(0, 1, 0), (0, 0, 1)}


@pytest.mark.parametrize("target", ["http://127.0.0.1:{other}/s", "http://localhost:{own}/s", "//127.0.0.2:{own}/s"])
def test_a_redirect_to_a_server_that_would_answer_is_not_followed(double: Double, target: str) -> None:
    other = Double()
    other.answers["/s"] = double.answers["/s"] = says(SCHEMA)
    location = target.format(other=other.server.port, own=double.server.port)
    double.answers["/schemas/ids/7"] = status(302, Location=location)
    registry = Registry(double.url)
    error = error_of(registry, 7)
    other.stop()
    assert "only itself is allowed" in error.detail
    assert counts(registry) == (0, 0, 1)
    assert other.asked + double.asked == {"/schemas/ids/7": 1}


def test_a_refused_redirect_is_counted_and_named(double: Double) -> None:
    double.answers["/schemas/ids/7"] = status(307, Location="http://169.254.169.254/")
    registry = Registry(double.url)
    assert "169.254.169.254" in error_of(registry, 7).detail
    assert counts(registry) == (0, 0, 1)


def test_redirects_within_the_host_are_followed_a_few_times(double: Double) -> None:
    double.answers["/schemas/ids/7"] = status(301, Location="/moved")
    double.answers["/moved"] = says(SCHEMA)
    double.answers["/schemas/ids/8"] = status(301, Location="/schemas/ids/8")
    registry = Registry(double.url)
    assert registry.schema(7) == SCHEMA.encode()
    assert "redirects more than" in error_of(registry, 8).detail
    assert double.asked["/schemas/ids/8"] == 4


@pytest.mark.parametrize(
    ("answer", "reason", "refused"),
    [
        (body(b" " * (2 << 20)), "schema_unknown", True),
        (body(b"{"), "schema_unknown", False),
        (body(b"[" * 100_000), "schema_unknown", False),
        (body(b"[]"), "schema_unknown", False),
        (body(b'{"schema": 7}'), "schema_unknown", False),
        (body(b"{}", Content_Encoding="gzip"), "schema_unknown", True),
        (body(b"{}", Content_Length="1000"), "schema_unknown", False),
        (says("{"), "schema_unknown", False),
        (says("[" * 100_000), "schema_unknown", False),
        (says("\ud800"), "schema_unknown", False),
        (says(SCHEMA, schemaType="PROTOBUF"), "schema_unknown", False),
        (says(SCHEMA, references=7), "schema_unknown", False),
        (says(SCHEMA, references=[{"name": "n", "subject": 7, "version": 1}]), "schema_unknown", False),
        (says('{"type": "array", "items": "null"}'), "schema_refused", True),
        (says(json.dumps("x" * SCHEMA_BYTES)), "schema_refused", True),
        (status(404), "schema_unknown", False),
        (status(500), "schema_unknown", False),
        (status(200), "schema_unknown", False),
        (status(204), "schema_unknown", False),
    ],
    ids=range(19),
)
def test_answers_that_are_no_schema(double: Double, answer: Answer, reason: str, refused: bool) -> None:
    double.answers["/schemas/ids/7"] = answer
    registry = Registry(double.url)
    assert error_of(registry, 7).reason == reason
    assert error_of(registry, 7).reason == reason  # remembered
    assert double.asked == {"/schemas/ids/7": 1}
    assert counts(registry) == (0, int(not refused), int(refused))


def test_an_endless_body_is_cut_at_the_budget(double: Double) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while not double.closing.is_set():
            sent += handler.wfile.write(b" " * 65536)

    double.answers["/schemas/ids/7"] = endless
    registry = Registry(double.url)
    assert str(ANSWER_BYTES) in error_of(registry, 7).detail
    assert counts(registry) == (0, 0, 1)
    time.sleep(0.1)
    assert sent < 64 << 20  # what the kernel's buffers hold, not for ever


@pytest.mark.parametrize("where", ["before", "in the header", "in the body"])
def test_a_server_that_hangs_or_drips_costs_one_timeout(double: Double, where: str) -> None:
    def hang(handler: BaseHTTPRequestHandler) -> None:
        if where != "before":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if where == "in the body" else b"X: "))
        for _ in range(40):  # each byte would reset a timeout between bytes
            if where != "before":
                handler.wfile.write(b"a")
            if double.closing.wait(0.05):
                return

    double.answers |= {"/schemas/ids/7": hang, "/schemas/ids/8": says(SCHEMA)}
    clock = Clock()
    registry = Registry(double.url, timeout=0.3, ttl=TTL, clock=clock)
    start = time.monotonic()
    assert error_of(registry, 7).reason == "schema_unknown"
    assert time.monotonic() - start < 0.6
    for schema_id in (7, 8, 9) * 20:  # a silent registry is left alone for a TTL, whatever the id
        assert not registry.known(schema_id)
    assert time.monotonic() - start < 1
    assert double.asked == {"/schemas/ids/7": 1}
    assert counts(registry) == (0, 1, 0)
    clock.now += TTL
    deadline = time.monotonic() + 5
    while not registry.known(8):  # once the late question has ended, it is asked again
        assert time.monotonic() < deadline
        clock.now += TTL
        time.sleep(0.05)
    assert double.asked["/schemas/ids/8"] == 1


def test_an_unknown_id_is_asked_once_a_ttl(double: Double) -> None:
    clock = Clock()
    registry = Registry(double.url, ttl=TTL, clock=clock)
    for _ in range(100):
        assert not registry.known(5)
    assert double.asked == {"/schemas/ids/5": 1}
    clock.now += TTL - 0.1
    assert not registry.known(5)
    assert double.asked["/schemas/ids/5"] == 1
    clock.now += 0.2
    double.answers["/schemas/ids/5"] = says(SCHEMA)
    assert registry.known(5)
    assert counts(registry) == (1, 1, 0)


def test_a_storm_of_unknown_ids_ends_at_a_bound(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skimstream.schemas.registry.MISSES_KEPT", 8)
    clock = Clock()
    registry = Registry(double.url, ttl=TTL, clock=clock)
    for schema_id in list(range(1000)) * 2:
        assert not registry.known(schema_id)
    assert double.asked == {f"/schemas/ids/{i}": 1 for i in range(8)}
    clock.now += TTL
    double.answers["/schemas/ids/999"] = says(SCHEMA)
    assert registry.known(999)
    assert MISSES_KEPT >= 8


def test_a_restart_without_network_lives_on_the_disk(double: Double, tmp_path: Path) -> None:
    double.answers["/schemas/ids/7"] = says(SCHEMA)
    assert Registry(double.url, cache=tmp_path).schema(7) == SCHEMA.encode()
    double.stop()
    again = Registry(double.url, cache=tmp_path)
    assert again.schema(7) == SCHEMA.encode()
    assert counts(again) == (0, 0, 0)
    assert error_of(again, 8).reason == "schema_unknown"
    assert [path.name for path in tmp_path.glob("*/*")] == ["7"]


@pytest.mark.parametrize("damage", [b"", b"x", b"\n", SCHEMA.encode(), b"0" * 64 + b"\n" + SCHEMA.encode()])
def test_a_damaged_file_is_fetched_anew(double: Double, tmp_path: Path, damage: bytes) -> None:
    double.answers["/schemas/ids/7"] = says(SCHEMA)
    Registry(double.url, cache=tmp_path).schema(7)
    (file,) = tmp_path.glob("*/*")
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert Registry(double.url, cache=tmp_path).schema(7) == SCHEMA.encode()
    assert double.asked["/schemas/ids/7"] == 2
    assert file.read_bytes() == whole


def test_two_registries_do_not_share_their_ids(double: Double, tmp_path: Path) -> None:
    double.answers |= {"/a/schemas/ids/7": says(SCHEMA), "/b/schemas/ids/7": says('"long"')}
    assert Registry(double.url + "/a", cache=tmp_path).schema(7) == SCHEMA.encode()
    assert Registry(double.url + "/b", cache=tmp_path).schema(7) == b'"long"'


def test_a_disk_that_fails_costs_no_message(double: Double, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    double.answers["/schemas/ids/7"] = says(SCHEMA)
    (tmp_path / "file").write_bytes(b"")
    assert Registry(double.url, cache=tmp_path / "file").schema(7) == SCHEMA.encode()
    assert "can't be kept" in caplog.text


def test_references_are_put_in_place(double: Double) -> None:
    top = {"type": "record", "name": "t", "namespace": "n", "fields": [{"name": "p", "type": "o.pair"}]}
    top["fields"] += [{"name": "q", "type": ["null", "o.pair"]}]  # type: ignore[operator]
    pair = {"type": "record", "name": "pair", "namespace": "o", "fields": [{"name": "a", "type": "leaf"}]}
    leaf = {"type": "fixed", "name": "o.leaf", "size": 2}
    double.answers |= {
        "/schemas/ids/7": says(json.dumps(top), references=[{"name": "o.pair", "subject": "a/b?", "version": 3}]),
        "/subjects/a%2Fb%3F/versions/3": says(
            json.dumps(pair), references=[{"name": "o.leaf", "subject": "l", "version": 1}]
        ),
        "/subjects/l/versions/1": says(json.dumps(leaf)),
    }
    schema = json.loads(Registry(double.url).schema(7))
    assert schema["fields"][0]["type"]["fields"][0]["type"]["size"] == 2
    assert schema["fields"][1]["type"] == ["null", "o.pair"]
    parse_schema(json.dumps(schema).encode())


def test_references_without_end_are_refused(double: Double) -> None:
    for i in range(100):
        more = [{"name": f"n{i + 1}", "subject": "s", "version": i + 1}]
        double.answers["/schemas/ids/7" if i == 0 else f"/subjects/s/versions/{i}"] = says(SCHEMA, references=more)
    registry = Registry(double.url)
    assert error_of(registry, 7).reason == "schema_refused"
    assert double.asked.total() < 40
    assert counts(registry) == (0, 0, 1)


@pytest.mark.parametrize("url", ["file:///etc", "ftp://host/", "host:8081", "", "http://", "http:///x"])
def test_only_http_addresses_are_accepted(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Registry(url)


@pytest.mark.parametrize("schema_id", [-1, 1 << 31, True, 7.0, "7", "../7", None])
def test_only_integer_ids_are_asked_for(double: Double, schema_id: Any) -> None:
    registry = Registry(double.url)
    assert error_of(registry, schema_id).reason == "schema_unknown"
    assert double.asked == {}


def test_addresses_that_an_answer_may_come_from() -> None:
    public = Host("https://registry.example", 1)
    public.check_peer("8.8.8.8")
    for inside in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"):
        with pytest.raises(FetchError, match="private"):
            public.check_peer(inside)
    private = Host("http://registry:8081", 1)
    for peer in ("172.18.0.5", "172.18.0.6", "8.8.8.8", "172.18.0.5"):
        private.check_peer(peer)
    for link_local in ("169.254.169.254", "fe80::1", "::ffff:169.254.169.254"):
        with pytest.raises(FetchError, match="private"):
            Host("http://registry:8081", 1).check_peer(link_local)
    Host("http://169.254.1.1", 1).check_peer("169.254.1.1")


def test_an_answer_from_a_wrong_address_is_not_read(double: Double) -> None:
    double.answers["/schemas/ids/7"] = says(SCHEMA)
    host = Host(double.url.replace("127.0.0.1", "localhost"), 1)
    host.private = False  # it had a public address before
    with pytest.raises(FetchError, match=r"private address 127\.0\.0\.1"):
        host.get("/schemas/ids/7", time.monotonic() + 1)


# ---- local folder


def test_the_folder_serves_what_the_registry_does_not(double: Double, tmp_path: Path) -> None:
    (tmp_path / "7.avsc").write_text(SCHEMA)
    registry = Registry(double.url, folder=tmp_path)
    for _ in range(3):
        assert json.loads(registry.schema(7)) == json.loads(SCHEMA)
    assert error_of(registry, 8).reason == "schema_unknown"
    assert double.asked == {"/schemas/ids/7": 1, "/schemas/ids/8": 1}
    double.answers["/schemas/ids/7"] = says('"long"')
    assert Registry(double.url, folder=tmp_path).schema(7) == b'"long"'


@pytest.mark.parametrize("text", ["{", "[" * 100_000, " " * (SCHEMA_BYTES + 1), "\xff"])
def test_a_damaged_local_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "7.avsc").write_bytes(text.encode("latin-1"))
    error = error_of(Registry(folder=tmp_path), 7)
    assert error.reason == "schema_refused"
    assert "7.avsc" in error.detail


def test_names_can_not_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.avsc").write_text(SCHEMA)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/7.avsc").write_text('{"type": "array", "items": "../secret"}')
    text = read_local(tmp_path / "in", 7)
    assert text is not None
    assert json.loads(text)["items"] == "../secret"
    with pytest.raises(DecodeError, match="not defined"):
        parse_schema(text)


@needs_shared
@pytest.mark.parametrize("schema_id", [701, 703, 704, 800, 900, 1100])
def test_rubins_layout_is_assembled(schema_id: int) -> None:
    text = Registry(folder=SHARED / "data/lsst/schemas").schema(schema_id)
    major, minor = divmod(schema_id, 100)
    assert parse_schema(text)["name"] == f"lsst.v{major}_{minor}.alert"
    fields = {field["name"]: field["type"] for field in json.loads(text)["fields"]}
    assert len(fields["diaSource"]["fields"]) > 50  # defined where it is first used
    assert fields["prvDiaSources"][1]["items"] == f"lsst.v{major}_{minor}.diaSource"  # and named from then on


def test_a_type_that_holds_itself_is_still_refused() -> None:
    definitions = {
        "a": {"type": "record", "name": "a", "fields": [{"name": "x", "type": ["null", "b"]}]},
        "b": {"type": "record", "name": "b", "fields": [{"name": "x", "type": ["null", "a"]}]},
        "liar": {"type": "record", "name": "other", "fields": [{"name": "x", "type": "liar"}]},
    }
    for name in definitions:
        with pytest.raises(DecodeError) as caught:
            parse_schema(json.dumps(inline(name, definitions.get)).encode())
        assert caught.value.reason == "schema_refused"


NODES = st.recursive(
    st.sampled_from(["null", "long", "a", "b", "n.a"]) | st.none() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "items", "values", "name", "namespace", "fields", "symbols"]),
            inner | st.sampled_from(["record", "array", "map", "enum"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(NODES, NODES)
def test_no_json_breaks_the_assembly(schema: Any, other: Any) -> None:
    with suppress(DecodeError):
        parse_schema(json.dumps(inline(schema, {"a": other, "n.a": schema}.get)).encode())
