"""Debian's Chromium, driven by Playwright: the page as people see it, and all that it does that it shouldn't."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
MISSING = "" if CHROMIUM and find_spec("playwright") else "needs Chromium and Playwright: make e2e"
KEPT = Path(__file__).resolve().parents[2] / "build" / "e2e"
_COUNT = """
(canvas, name) => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const wanted = [0, 2, 4].map((n) => parseInt(hex.slice(n, n + 2), 16));
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let n = 0; n < pixels.length; n += 4) count += wanted.every((one, k) => pixels[n + k] === one);
  return count;
}
"""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser without a window. It needs no sandbox of its own where it is root in a container, and has none."""
    from playwright.sync_api import sync_playwright

    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*alone, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Visit:
    """A page in a browser, and its faults: dialogs, scripts' errors, broken policies, requests to anybody else.

    As a context it closes the page, and fails if there was any fault.
    """

    def __init__(self, browser: "Browser", address: str, width: int = 1280, height: int = 860, **options: Any) -> None:
        self.address = address
        self.faults: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": height}, **options)
        self.page.set_default_timeout(15_000)
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, message: Any) -> None:
        # That an answer isn't 200 is the API's business; the page has to cope.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        if urlsplit(request.url).scheme in ("http", "https") and not request.url.startswith(self.address):
            self.faults.append(f"request: {request.url}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.page.close()
        assert kind or self.faults == []

    def go(self, path: str = "/") -> "Page":
        """Open a path."""
        self.page.goto(self.address + path)
        return self.page

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return found

    def drawn(self, chart: str, colour: str) -> int:
        """How many pixels of a chart's canvas have a colour of the style sheet: what is drawn in it."""
        found: int = self.page.locator(f"{chart} canvas").evaluate(_COUNT, colour)
        return found

    def keep(self, name: str, whole: bool = False) -> Path:
        """A screenshot under build/e2e."""
        KEPT.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=KEPT / name, full_page=whole)
        return KEPT / name
