"""The page in a real browser, over a board that stands still; with events that flow: tests/cli/test_page_live.py."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import redis

from skimstream.consumer.board import key
from stage.boarded import client_of
from stage.browser import MISSING, Visit, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ROWS = "table.list tbody tr"
TOKEN = "correct-horse"  # noqa: S105 - of these tests alone
HACK = "document.title='hacked';alert(1)"
XSS = (
    f"<script>{HACK}</script>",
    f'"><img src=x onerror="{HACK}">',
    f"javascript:{HACK}",
    f"</title><svg/onload={HACK}>",
    "<img src=http://evil.example/x.png>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "{{7*7}}${7*7}",
    "\u202e\u2028\ufeff'; DROP TABLE x;--",
    "../../../etc/passwd?a=b&c=d#e%2f",
)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One browser for all tests here."""
    with chromium() as browser:
        yield browser


def address(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


def test_list_object_and_back(browser: "Browser", client: httpx.Client) -> None:
    expected = client.get("/api/v1/anomaly?order=score&n=50&night=2026-11-20&columns=i:objectId,d:score").json()
    with Visit(browser, address(client)) as visit:
        page = visit.go("/?stream=ztf")
        page.wait_for_selector(ROWS)
        names = page.locator(f"{ROWS} a.object").all_inner_texts()
        assert names == [one["i:objectId"] for one in expected]
        assert "Thresholds now (combined value): notable above" in page.locator("#thresholds").inner_text()
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_selector("article h1")
        assert page.locator("h1").inner_text() == names[1]
        assert f"object={names[1]}" in page.url
        page.wait_for_selector(".plot canvas")
        assert page.locator(".features tbody tr").count() > 10
        assert page.evaluate("document.activeElement.tagName") == "H1"
        page.keyboard.press("Escape")
        page.wait_for_selector(ROWS)
        page.wait_for_function("name => document.activeElement.textContent === name", arg=names[1])
        page.go_back()
        page.wait_for_selector("article h1")
        page.select_option("#stream", "behaviour")
        page.wait_for_function("document.querySelector('h1').textContent.includes('behaviour')")
        page.locator(ROWS).first.click()
        page.wait_for_selector(".plot canvas")
        assert "Event timeline" in page.locator("main").inner_text()


def test_a_light_curve_is_drawn(browser: "Browser", client: httpx.Client) -> None:
    rows = client.get("/api/v1/anomaly?night=2026-11-20&n=50&columns=i:objectId,d:lightcurve").json()
    seen = {row["i:objectId"]: detections(row["d:lightcurve"]) for row in rows}
    most = max(seen, key=lambda name: seen[name])
    with Visit(browser, address(client)) as visit:
        page = visit.go(f"/?stream=ztf&object={most}")
        page.wait_for_selector(".plot canvas")
        # A square has 7 × 7 pixels, most stand free; error bars and limits are thin lines.
        assert visit.drawn("section:has(h2:text('Light curve'))", "--band-r") > 20 * seen[most] > 200


def detections(curve: dict[str, list[Any]]) -> int:
    """How many in r that are brighter than the reference, less the limits."""
    pairs = zip(curve["band"], curve["positive"], strict=True)
    return sum({True: 1, None: -1, False: 0}[up] for band, up in pairs if band == "r")


def test_texts_of_a_stream_do_nothing(browser: "Browser", store: redis.Redis) -> None:
    night = "2026-11-21"
    for text in XSS:
        reason = {"feature": text, "words": f"{text}: {text}", "usual": [0, 1]}
        explained = {"feature": [text], "unit": [text], "percentile": [1.0], "contributions": {text: [0.5]}}
        candidate = {"geolocation_city": text, text: text, "transaction_date": text}
        details = {"event": text, "night": night, "score": 0.5, "raw": {text: 1.0}, "z": {text: 1.0}, "severity": text}
        details |= {"reasons": [reason], "explained": explained, "features": {text: 1.0}}
        details |= {"model": text, "candidate": candidate}
        store.zadd(key("ztf", "top", night), {text: 0.5})
        store.hset(key("ztf", "details", night), text, json.dumps(details))
        store.hset(key("ztf", "timeline", night), text, json.dumps(details))
    store.hset(key("ztf", "offsets"), "t/0", 3)
    with client_of(store) as client, Visit(browser, address(client)) as visit:
        page = visit.go("/")
        page.wait_for_selector(ROWS)
        assert set(page.locator(f"{ROWS} a.object").all_text_contents()) == set(XSS)
        for text in XSS[::2]:
            visit.go("/?" + urlencode({"stream": "ztf", "night": night, "object": text}, quote_via=quote))
            page.wait_for_selector("article:not([aria-busy])")
            assert page.locator("h1").text_content() == text
            page.wait_for_selector("article .facts")
            assert page.title().startswith(text[:3].strip())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: "Browser", client: httpx.Client, scheme: str) -> None:
    with Visit(browser, address(client), width=360, height=740, color_scheme=scheme) as visit:
        for stream in ("ztf", "behaviour"):
            page = visit.go(f"/?stream={stream}")
            page.wait_for_selector(ROWS)
            assert visit.overflow() <= 0
            page.locator(ROWS).first.click()
            page.wait_for_selector(".plot canvas")
            assert visit.overflow() <= 0
        red = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
        assert (red < 60) == (scheme == "dark")


def test_a_server_that_asks_for_a_token(browser: "Browser", board: redis.Redis) -> None:
    with client_of(board, TOKEN) as client, Visit(browser, address(client)) as visit:
        page = visit.go("/?stream=ztf")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("form [role=alert]")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(ROWS)
        with page.expect_download() as waiting:
            page.click("a.download")
        assert waiting.value.path().read_text().startswith("i:objectId,")


def test_what_is_wrong_is_said(browser: "Browser", store: redis.Redis) -> None:
    with ExitStack() as server:
        client = server.enter_context(client_of(store))
        with Visit(browser, address(client)) as visit:
            page = visit.go("/")
            page.wait_for_selector("text=No board yet")
            store.hset(key("ztf", "offsets"), "t/0", 3)
            store.zadd(key("ztf", "workers"), {"host:1": time.time() - 700})
            page.reload()
            page.wait_for_selector("text=Nothing is on the board of ztf")
            page.wait_for_selector("text=/No worker heard since .* UTC \\(11 minutes\\)/")
            visit.go("/?stream=ztf&night=2026-02-30")
            page.wait_for_selector("text=/night: is a date that doesn't exist \\(400\\)/")
            server.close()
            page.click("text=Try again")
            page.wait_for_selector("text=/No answer since .* UTC/")


BARS = """{
  "t/0": {severities: {notable: 2.4, high: 3.91}, rules: {odd: {bar: "min_score", asked: 0.99, level: 0.99}}},
  "t/1": {severities: {notable: 2.6, high: 3.91}, rules: {
    odd: {bar: "min_score", asked: 0.99, level: 0.99},
    few: {bar: "alerts_per_night", asked: 10, level: 4.2},
    rare: {bar: "false_alarm_rate", asked: 1e-4, level: 5},
  }},
}"""

WORDS = [
    ("thresholds", "[of.thresholds({}), of.thresholds(undefined)]", ["", ""]),
    (
        "thresholds",
        f"of.thresholds({BARS})",
        "Thresholds now (combined value): notable above 2.4 to 2.6, high above 3.91 · People are told: "
        "odd (score from 0.99), few (10 a night) above 4.2, rare (1 in 10,000) above 5",
    ),
    ("format", "of.score(0.999999)", "0.99999"),
    ("format", "of.score(0.29)", "0.29000"),
    ("format", "[0.99983, 0.999999, 1].map(of.oneIn)", ["1 in 5,900", "beyond 1 in 100,000", "beyond 1 in 100,000"]),
    ("format", "[61023.4567, -0.5].map(of.exact)", ["61023.46", "−0.5"]),
    ("format", "of.number(-0.0001234)", "−1.23e-4"),
    ("format", "[1234567, 20.76938, null, 0].map(of.number)", ["1,234,567", "20.77", "–", "0"]),
    ("format", "[232.6454852, 359.99999999].map(of.hours)", ["15:30:34.92", "00:00:00.00"]),
    ("format", "[-6.2598105, 0.01, -0.5].map(of.signed)", ["−06:15:35.3", "+00:00:36.0", "−00:30:00.0"]),
    ("format", "of.mjdOfJd(2461363.7851562).toFixed(5)", "61363.28516"),
    ("format", "of.utc(of.secondsOfMjd(61363.25))", "2026-11-19 06:00:00"),
    ("format", "of.seconds('2026-11-19 06:50:37.495')", 1795071037.495),
    ("format", "of.seconds('2026-11-19T07:50:37.495+01:00')", 1795071037.495),
    ("format", "[59, 60, 7300].map(of.duration)", ["59 seconds", "1 minute", "2 hours"]),
    (
        "record",
        """of.indented('{"a":9223372036854775807,"b":[1,2],"c":{},"d":"x\\\\"{,"}')""",
        '{\n  "a": 9223372036854775807,\n  "b": [1, 2],\n  "c": {},\n  "d": "x\\"{,"\n}',
    ),
    ("download", """of.csv(["a", "b"], [[null, 'x"y'], [false, "1,2"]])""", 'a,b\r\n,"x""y"\r\nfalse,"1,2"\r\n'),
    ("address", "of.href({stream: 'a b', night: '', object: '</x>&'})", "?stream=a+b&object=%3C%2Fx%3E%26"),
]


def test_words_and_numbers(browser: "Browser", client: httpx.Client) -> None:
    with Visit(browser, address(client)) as visit:
        page = visit.go("/static/icon.svg")
        for file, expression, expected in WORDS:
            assert page.evaluate(f"import('/static/{file}.js').then((of) => {expression})") == expected
