"""The page of a running demo, in a real browser: it follows the board, draws, downloads, and says when workers stop."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stage.browser import KEPT, MISSING, Visit, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

ROWS = "table.list tbody tr"
# A worker beats every second and counts as silent after 15; the page asks every five.
SILENT_MILLISECONDS = 40_000


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[int, str]]:
    """A running demo: its process and its page's address."""
    command = [sys.executable, "-m", "skimstream.cli.main", "demo", "--for", "10m"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            line = next(one for one in process.stderr if "the page: " in one)
            found = re.search(r"http://[^/\s]+", line)
            assert found
            yield process.pid, found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.stderr.read()
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as browser:
        yield browser


def test_the_list_follows_the_board(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1], width=1260, height=640) as visit:
        page = visit.go("/?stream=demo-ztf")
        page.wait_for_selector(ROWS, timeout=90_000)  # the workers may have to compile first
        page.evaluate("window.sameDocument = true")
        page.wait_for_selector("#state[data-kind=live] >> text=live · 1 worker")
        page.wait_for_selector(f"{ROWS}.changed")
        page.wait_for_function(f"document.querySelectorAll('{ROWS}').length == 50", timeout=60_000)
        page.locator("a.object").nth(3).focus()
        mine = page.locator("a.object").nth(3).inner_text()
        page.wait_for_selector(f"{ROWS}.changed")
        page.wait_for_timeout(500)
        if mine in page.locator("a.object").all_inner_texts():
            assert page.evaluate("document.activeElement.textContent") == mine
        assert page.evaluate("window.sameDocument") is True
        assert page.locator("svg.spark").count() > 30
        assert "changed; first is" in (page.locator("#told").text_content() or "")
        visit.keep("list.png")


def test_an_object(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1], height=1000) as visit:
        page = visit.go("/?stream=demo-ztf")
        page.locator("a.object").first.click()
        page.wait_for_selector(".plot canvas")
        name = page.locator("h1").inner_text()
        curve, scores = "section:has(h2:text('Light curve'))", "section:has(h2:text('Score history'))"
        assert visit.drawn(curve, "--band-g") + visit.drawn(curve, "--band-r") > 50
        assert sum(visit.drawn(scores, name) for name in ("--accent", "--high", "--muted")) > 50
        for words in (" band", "MJD", "J2000", "Fink", "ALeRCE", "Lasair", "TNS", "above"):
            assert words in page.locator("main").inner_text()
        links = page.locator(".links a").evaluate_all("all => all.map(a => [a.href.includes('ZTF'), a.rel])")
        assert [one[1] for one in links] == ["noopener noreferrer"] * 4
        page.locator(".plot .u-over").first.hover(position={"x": 300, "y": 100})
        page.wait_for_function("document.querySelector('.readout').textContent.includes('UTC')")
        page.click("summary:text('The light curve as a table')")
        assert page.locator("section:has(h2:text('Light curve')) tbody tr").count() > 5
        page.click("summary:text('The raw record')")
        record = json.loads(page.locator("pre").inner_text())
        assert record["object"] == name
        with page.expect_download() as waiting:
            page.click("button.download")
        assert waiting.value.path().read_text().startswith("mjd,utc,band,mag")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
        page.mouse.move(0, 0)
        visit.keep("object.png")
        visit.keep("object-whole.png", whole=True)


def test_a_user(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1], color_scheme="dark") as visit:
        page = visit.go("/?stream=demo-behaviour")
        page.wait_for_selector(ROWS)
        visit.keep("users-dark.png")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_selector("h2:text('Event timeline')")
        assert sum(visit.drawn("section:has(h2:text('Event timeline'))", name) for name in ("--accent", "--high")) > 20
        visit.keep("user-dark.png", whole=True)


def test_a_phone(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1], width=360, height=740) as visit:
        page = visit.go("/?stream=demo-ztf")
        page.wait_for_selector(ROWS)
        assert visit.overflow() <= 0
        visit.keep("phone-list.png")
        page.locator(ROWS).first.click()
        page.wait_for_selector(".plot canvas")
        assert visit.overflow() <= 0
        visit.keep("phone-object.png", whole=True)


def test_the_list_as_csv(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1]) as visit:
        page = visit.go("/?stream=demo-ztf")
        page.wait_for_selector(ROWS)
        with page.expect_download() as waiting:
            page.click("a.download")
        assert waiting.value.suggested_filename == "skimstream.csv"
        lines = waiting.value.path().read_text().splitlines()
        assert lines[0].startswith("i:objectId,i:candid,")
        assert len(lines) > 50


@contextmanager
def frozen(demo: int, stream: str) -> Iterator[None]:
    """The demo's worker of a stream, stopped for a while."""
    children = Path(f"/proc/{demo}/task/{demo}/children").read_text().split()
    [worker] = [int(one) for one in children if f"/{stream}.toml" in Path(f"/proc/{one}/cmdline").read_text()]
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def test_a_worker_that_stops(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1]) as visit:
        page = visit.go("/?stream=demo-ztf")
        page.wait_for_selector(ROWS)
        with frozen(demo[0], "ztf"):
            page.wait_for_selector("text=/No worker heard since .* UTC/", timeout=SILENT_MILLISECONDS)
            visit.keep("stale.png")
        page.wait_for_selector("#banner", state="hidden", timeout=SILENT_MILLISECONDS)
        page.wait_for_selector("#state[data-kind=live]")


def test_a_server_that_is_gone_for_a_while(demo: tuple[int, str], browser: "Browser") -> None:
    with Visit(browser, demo[1]) as visit:
        page = visit.go("/?stream=demo-ztf")
        page.wait_for_selector("#state[data-kind=live]")
        page.context.set_offline(True)
        page.wait_for_selector("text=/No answer since .* UTC/")
        assert page.locator(ROWS).count() > 0
        page.context.set_offline(False)
        page.wait_for_selector("#banner", state="hidden")
        page.wait_for_selector("#state[data-kind=live]")
        page.wait_for_selector(f"{ROWS}.changed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(demo: tuple[int, str], browser: "Browser", scheme: str) -> None:
    """axe-core's rules of WCAG 2.2 A and AA; `make e2e` fetches it where there is npm."""
    axe = KEPT / "axe" / "package" / "axe.min.js"
    if not axe.exists():
        pytest.skip(f"needs {axe.name} in build/e2e: make e2e, where npm is there")
    with Visit(browser, demo[1], bypass_csp=True, color_scheme=scheme, reduced_motion="reduce") as visit:
        page = visit.go("/?stream=demo-ztf")
        page.wait_for_selector(ROWS)
        found = violations(page, axe)
        page.locator("a.object").first.click()
        page.wait_for_selector(".plot canvas")
        assert found + violations(page, axe) == []


def violations(page: Any, axe: Path) -> list[str]:
    page.evaluate(axe.read_text())
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
    found = page.evaluate("rules => axe.run(document, rules)", rules)["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['failureSummary']}" for one in found]
