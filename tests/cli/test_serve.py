"""`skim serve`, as it is run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
import typer

from skimstream.api.listen import PortTaken, listen
from skimstream.cli.serve import chosen_model, serve
from skimstream.consumer.bundles import Bundles
from stage.listed import model_of

BIN = Path(sys.executable).parent
TOKEN = "s3cret"  # noqa: S105 - of these tests alone


@contextmanager
def serving(url: str, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `skim serve` and the address that it names."""
    command = [str(BIN / "skim"), "serve", "--redis", url, "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        assert process.stderr
        try:
            line = next(one for one in process.stderr if "http://" in one)
            yield process, line.split("the page is ")[1].split(",")[0]
        finally:
            process.kill()


def test_it_serves_until_it_is_interrupted(store: redis.Redis, store_url: str) -> None:
    store.hset("skim:{ztf}:offsets", "t/0", 3)
    with serving(store_url, SKIM_API_TOKEN=TOKEN) as (process, address):
        assert httpx.get(f"{address}/ready").json() == {"ready": True, "streams": ["ztf"]}
        assert httpx.get(f"{address}/api/v1/anomaly").status_code == 401
        allowed = httpx.get(f"{address}/api/v1/anomaly", headers={"Authorization": f"Bearer {TOKEN}"})
        assert allowed.json() == []
        assert "server" not in allowed.headers
        assert httpx.get(f"{address}/live", headers={"Host": "evil.example"}).status_code == 421
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize("token", ["", " padded", "líne", "two\nlines"])
def test_a_token_that_can_not_be_sent(token: str) -> None:
    with pytest.raises(typer.BadParameter):
        serve(token=token)


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)
    with pytest.raises(PortTaken):
        listen("no such host", 0)


def test_events_are_scored_with_the_model_in_force(store: redis.Redis) -> None:
    shipped = model_of("behaviour")
    chosen = chosen_model(store, [])
    assert chosen("behaviour").id == shipped.id
    assert chosen("behaviour") is chosen("behaviour")
    bundles = Bundles(store, "behaviour")
    bundles.activate(shipped)
    assert chosen("behaviour").id == shipped.id
    store.hset("skim:{behaviour}:active", "model", "gone")
    with pytest.raises(Exception, match="gone"):
        chosen("behaviour")
