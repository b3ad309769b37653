"""The page's files: what is sent and with which headers; none needs another host, or makes HTML of texts."""

import re
from pathlib import Path

import httpx
import pytest
import redis

from skimstream.api.gate import Limits
from skimstream.api.limits import Rate
from stage.boarded import client_of

STATIC = Path(__file__).resolve().parents[2] / "api" / "static"
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
OWN = [name for name in FILES if not name.startswith("uplot/")]


def test_the_page(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (STATIC / "index.html").read_bytes()
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", [name for name in FILES if Path(name).suffix in (".js", ".css", ".svg", ".html")])
def test_a_file(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/static/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    assert answer.headers["content-type"].startswith(kind[Path(name).suffix])
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/static/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["uplot/README.md", "uplot/LICENSE", "", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "style", "x.js"]
)
def test_nothing_else_is_sent(client: httpx.Client, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_the_page_needs_no_token_and_costs_no_rate(board: redis.Redis) -> None:
    limits = Limits(rate=Rate(per_second=0.1, burst=1))
    with client_of(board, token="correct-horse", limits=limits) as client:  # noqa: S106 - of this test alone
        assert {client.get(f"/static/{name}").status_code for name in OWN} == {200}
        assert client.get("/").status_code == 200
        assert client.get("/api/v1/anomaly").status_code == 401
        assert client.get("/staticx").status_code == 429


@pytest.mark.parametrize("name", OWN)
def test_no_file_asks_another_host_or_makes_html_of_text(name: str) -> None:
    text = (STATIC / name).read_text()
    others = set(re.findall(r"(?:https?:)?//([\w.-]+\.\w+)", text)) - {"www.w3.org"}
    assert others <= (
        {"ztf.fink-portal.org", "alerce.online", "lasair-ztf.lsst.ac.uk", "www.wis-tns.org"}
        if name == "sky.js"
        else set()
    )
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "srcdoc",
        "DOMParser",
    ):
        assert way not in text
    if name.endswith(".html"):
        assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=|javascript:", text)
    assert text.count("\n") < 400


def test_the_vendored_library_says_what_it_is() -> None:
    readme = (STATIC / "uplot" / "README.md").read_text()
    version = re.search(r"uPlot (\d+\.\d+\.\d+)", readme)
    assert version
    assert f"v{version[1]}" in (STATIC / "uplot" / "uPlot.esm.js").read_text()[:400]
    assert "MIT" in (STATIC / "uplot" / "LICENSE").read_text()
