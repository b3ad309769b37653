"""Grafana's dashboards: the files are what the code makes, and every panel shows something of a worker that works."""

import doctest
import importlib
import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from brokers.mock import MockCluster
from brokers.prometheus import Prometheus
from grafana.build import FOLDER, texts
from grafana.queries import Asked, queries
from skimstream.api.metrics import Metrics as ApiMetrics
from skimstream.consumer.bundles import Bundles
from skimstream.consumer.config import load_settings
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.monitor_metrics import MonitorMetrics
from skimstream.consumer.run import run
from stage.boarded import client_of
from stage.listed import model_of, sessions, with_other_trees
from stage.receivers import Webhook

BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in texts().items()}
COLUMNS = 24
UIDS = ("skim-overview", "skim-anomalies", "skim-worker")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What Prometheus itself adds to each scrape.
OF_PROMETHEUS = {"up"}
# Here messages carry their schema: nobody asks a registry.
NEVER_SEEN = {"Questions to the schema registry"}
# What no panel shows: of no use over time.
UNSHOWN = {"process_virtual_memory_bytes", "process_max_fds"}
NAMES = re.compile(r"\b(?:skim_\w+|process_\w+|up)\b")

EVENTS, AT_ONCE = 3_000, 300
SECONDS = 30.0
CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: skimstream
    static_configs: [{{targets: [{targets}]}}]
"""

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All but the rows' headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked(board: Mapping[str, Any]) -> list[str]:
    """The names of the metrics in a dashboard's queries."""
    return [name for query in queries(board) for name in NAMES.findall(query.expression)]


def exposed() -> set[str]:
    """The names of all series of a worker and of the API's server."""
    registry = CollectorRegistry()
    Metrics(registry, "ztf", ("gated",))
    MonitorMetrics(registry, "ztf")
    found = set[str]()
    for family in (*registry.collect(), *ApiMetrics().registry.collect()):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        found.update(family.name + suffix for suffix in suffixes)
    return found


def test_the_files_are_what_the_code_makes() -> None:
    """`make dashboards` after a change of deploy/grafana/*.py, and never a change by hand."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == texts()


def test_the_uids_stay() -> None:
    """Links and bookmarks go by them."""
    assert tuple(board["uid"] for board in BOARDS.values()) == UIDS


@every_board
def test_panels_have_numbers_and_places_of_their_own(board: Mapping[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: dict[tuple[int, int], int] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        across, down = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        for cell in itertools.product(across, down):
            assert taken.setdefault(cell, panel["id"]) == panel["id"], panel["title"]
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


@every_board
def test_every_panel_says_what_it_shows_and_in_what_unit(board: Mapping[str, Any]) -> None:
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"], panel["title"]
        if panel["type"] == "heatmap":
            assert panel["options"]["yAxis"]["unit"], panel["title"]
        elif panel["type"] not in ("text", "table"):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@every_board
def test_every_query_goes_to_the_chosen_data_source_and_by_the_variables(board: Mapping[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    provisioned = (FOLDER.parent / "provisioning/datasources/prometheus.yaml").read_text()
    assert f"uid: {variables['datasource']['current']['value']}\n" in provisioned
    for variable in ("stream", "instance"):
        assert variables[variable]["datasource"] == DATASOURCE
    for panel in panels(board):
        for target in panel.get("targets", ()):
            assert panel["datasource"] == target["datasource"] == DATASOURCE
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval", "__range"}
            assert used <= variables.keys()
    tags = [link["tags"] for link in board["links"] if link["type"] == "dashboards"]
    assert tags == [board["tags"]], "each dashboard links to the others"


@every_board
def test_every_metric_exists(board: Mapping[str, Any]) -> None:
    assert set(asked(board)) - exposed() <= OF_PROMETHEUS
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert NAMES.findall(variable["query"])[0] in exposed()


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for board in BOARDS.values() for name in asked(board)}
    stems = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    missing = {name for name in exposed() - shown if re.sub(r"_(bucket|count|sum)$", "", name) not in stems}
    assert missing == UNSHOWN


def test_the_provisioned_folder_is_the_one_that_compose_mounts() -> None:
    provider = (FOLDER.parent / "provisioning/dashboards/skimstream.yaml").read_text()
    assert "path: /var/lib/grafana/dashboards\n" in provider


@pytest.mark.parametrize("name", ["promql", "queries", "svg", "units"])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"grafana.{name}")).failed == 0


def test_every_panel_shows_something_of_a_running_worker(
    mock_cluster: MockCluster,
    store: redis.Redis,
    store_url: str,
    prometheus_server: Callable[[Mapping[str, str]], Prometheus],
) -> None:
    for topic in ("sessions", "sessions.dlq", "skim.behaviour.anomalies"):
        mock_cluster.create_topic(topic, 1)
    own = model_of("behaviour")
    Bundles(store, "behaviour").shadow(with_other_trees(own, 1))
    with (
        client_of(store) as api,
        Webhook() as hook,
        working(mock_cluster.bootstrap, store_url, f"http://{hook.address}/") as port,
    ):
        targets = f'"127.0.0.1:{port}", "127.0.0.1:{api.base_url.port}"'
        prometheus = prometheus_server({"prometheus.yml": CONFIG.format(targets=targets)})
        producer = Producer({"bootstrap.servers": mock_cluster.bootstrap})
        events = itertools.cycle(sessions(EVENTS, users=60))
        silent = list(itertools.chain.from_iterable(map(queries, BOARDS.values())))
        deadline = time.monotonic() + SECONDS
        while silent and time.monotonic() < deadline:
            for event in (*itertools.islice(events, AT_ONCE), b"this is no Avro"):
                producer.produce("sessions", event)
            producer.flush(10)
            api.get("/api/v1/streams").raise_for_status()
            time.sleep(0.3)
            silent = [query for query in silent if not shows(query, prometheus.query(query.filled()))]
        assert [query.panel for query in silent] == []


@contextmanager
def working(bootstrap: str, store_url: str, hook: str) -> Iterator[int]:
    """A worker in a thread, with a rule and a channel; yields the port of its metrics."""
    settings = load_settings(
        None,
        {
            "stream": "behaviour",
            "topic": "sessions",
            "kafka": {"bootstrap": bootstrap, "group": "g", "options": {"session.timeout.ms": 6000}},
            "redis": {"url": store_url},
            "checkpoint": {"seconds": 1.0},
            "metrics": {"port": 0},
            "monitor": [{"min_score": 0.9, "channels": ["hook"]}],
            "channels": {"hook": {"url": hook}},
        },
    )
    ports: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    def tell(port: int, problem: str | None) -> None:
        ports.append(port)
        ready.set()

    thread = threading.Thread(target=run, args=(settings, model_of("behaviour"), stop.is_set, tell))
    thread.start()
    try:
        assert ready.wait(SECONDS)
        yield ports[0]
    finally:
        stop.set()
        thread.join(SECONDS)


def shows(query: Asked, answer: list[dict[str, Any]]) -> bool:
    """Whether any sample is a number, and one that was measured, not the zero that stands for "never seen"."""
    numbers = [one for one in answer if math.isfinite(float(one["value"][1]))]
    return any("none" not in one["metric"].values() or query.panel in NEVER_SEEN for one in numbers)
