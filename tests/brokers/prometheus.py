"""A real Prometheus that scrapes what a test tells it to, evaluates rules and answers queries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from .server import Server
from .tools import tool

CLIENT_SECONDS = 10.0


class PrometheusError(RuntimeError):
    """A query that Prometheus refused; the text is its own."""


class Prometheus(Server):
    """A server with its configuration and its data in a folder of its own, kept over restarts.

    `files` are written there at each start, by relative path: "prometheus.yml", and the rule files that it names.
    """

    def __init__(self, files: Mapping[str, str], port: int | None = None) -> None:
        super().__init__(port)
        self.files = dict(files)
        self._client = httpx.Client(timeout=CLIENT_SECONDS)  # a new one reads all certificates each time: 0.1 s

    @property
    def url(self) -> str:
        """http://host:port"""
        return f"http://{self.address}"

    def command(self) -> list[str]:
        write(self.folder, self.files)
        return [
            tool("prometheus"),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={self.address}",
            "--web.enable-lifecycle",
        ]

    def answers(self) -> bool:
        return ready(self.url)

    def close(self) -> None:
        """As any server's; and nothing is asked any more."""
        super().close()
        self._client.close()

    def reload(self) -> None:
        """Take `files` as they are now, without a restart. Raises httpx.HTTPStatusError where they are wrong."""
        write(self.folder, self.files)
        httpx.post(f"{self.url}/-/reload", timeout=CLIENT_SECONDS).raise_for_status()

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The samples of an instant query: {"metric": …, "value": [seconds, text]} each. Raises PrometheusError."""
        moment = {} if at is None else {"time": str(at)}
        return list(self._ask("query", query=expression, **moment)["result"])

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a range query, each {"metric": labels, "values": [[seconds, text], …]}; times in seconds."""
        span = {"start": str(start), "end": str(end), "step": str(step)}
        return list(self._ask("query_range", query=expression, **span)["result"])

    def value(self, expression: str) -> float | None:
        """The number of the first sample; None where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> dict[str, str]:
        """Alerts by name: "pending" or "firing"; where one has several series, the worse."""
        found: dict[str, str] = {}
        for alert in self._ask("alerts")["alerts"]:
            name, state = alert["labels"]["alertname"], alert["state"]
            found[name] = "firing" if "firing" in (state, found.get(name)) else state
        return found

    def targets(self) -> dict[str, str]:
        """Scraped addresses (host:port), each with its health: "up", "down", "unknown"."""
        return {one["labels"]["instance"]: one["health"] for one in self._ask("targets")["activeTargets"]}

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = self._client.get(f"{self.url}/api/v1/{what}", params=parameters).json()
        if answer["status"] != "success":
            raise PrometheusError(answer["error"])
        return dict(answer["data"])


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts below a folder, by relative path."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def ready(url: str) -> bool:
    """Whether a server of the Prometheus family does its work."""
    try:
        return httpx.get(f"{url}/-/ready", timeout=CLIENT_SECONDS).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
