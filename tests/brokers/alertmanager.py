"""A real Alertmanager, and a receiver for what it sends."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

from .prometheus import CLIENT_SECONDS, ready, write
from .server import Server
from .tools import UNPACKED, tool


class Alertmanager(Server):
    """A server with its configuration and its data in a folder of its own, kept over restarts.

    `files` are written there at each start, by relative path: "alertmanager.yml", and what it names.
    """

    def __init__(self, files: Mapping[str, str], port: int | None = None) -> None:
        super().__init__(port)
        self.files = dict(files)

    @property
    def url(self) -> str:
        """http://host:port"""
        return f"http://{self.address}"

    def command(self) -> list[str]:
        write(self.folder, self.files)
        if UNPACKED.exists() and not (self.folder / "usr").exists():
            (self.folder / "usr").symlink_to(UNPACKED)  # the unpacked one finds its templates there, see the Makefile
        return [
            tool("prometheus-alertmanager"),
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",  # alone, it talks to no others
        ]

    def answers(self) -> bool:
        return ready(self.url)

    def post(self, *alerts: Mapping[str, Any]) -> None:
        """Send it alerts, as Prometheus does: {"labels": …, "annotations": …}."""
        httpx.post(f"{self.url}/api/v2/alerts", json=alerts, timeout=CLIENT_SECONDS).raise_for_status()


class Webhook:
    """An HTTP receiver on loopback that keeps the JSON bodies posted to it. As a context manager it ends."""

    def __init__(self) -> None:
        received: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:
                """Nothing on the tests' output."""

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def told(self) -> list[tuple[str, str]]:
        """(alert name, "firing" or "resolved") of all that came, in order of arrival."""
        return [(one["labels"]["alertname"], one["status"]) for body in list(self.received) for one in body["alerts"]]

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
