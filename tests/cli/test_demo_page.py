"""The demo's own page: it comes up, says where, and says why if it doesn't."""

from pathlib import Path

import httpx
import pytest

from skimstream.api.listen import listen
from skimstream.cli.page import Page, PageError


def test_it_serves_the_store_that_it_is_given(store_url: str, tmp_path: Path) -> None:
    page = Page(store_url, 0, tmp_path)
    try:
        address = page.address()
        assert "Skimstream" in httpx.get(address).text
        assert "no worker has written" in httpx.get(f"{address}/ready").json()["detail"]
    finally:
        page.kill()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_a_port_that_is_taken(store_url: str, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        page = Page(store_url, taken.getsockname()[1], tmp_path)
        with pytest.raises(PageError, match="can't listen on"):
            page.address()
        page.kill()
