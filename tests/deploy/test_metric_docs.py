"""Every metric that workers and the page expose is explained, and so is what to do when it moves."""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from brokers.server import Unavailable
from brokers.tools import tool
from skimstream.api.metrics import Metrics as PageMetrics
from skimstream.consumer.channel import ChannelSettings
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.monitor_metrics import MonitorMetrics
from skimstream.consumer.rule import Rule
from skimstream.consumer.rulebook import Book

DOCS = Path(__file__).resolve().parents[2] / "docs"


def names(registry: CollectorRegistry) -> set[str]:
    return {one.name + ("_total" if one.type == "counter" else "") for one in registry.collect()}


def told(document: str) -> set[str]:
    return set(re.findall(r"`((?:skim|process)_\w+)", (DOCS / document).read_text()))


def test_each_is_explained_and_none_that_is_not_there() -> None:
    worker, page = CollectorRegistry(), PageMetrics()
    Metrics(worker, "ztf", ["gated"])
    MonitorMetrics(worker, "ztf")
    there = names(worker) | names(page.registry)
    assert there - told("metrics.md") - told("api.md") == set()
    assert there - told("operations.md") == set()
    assert told("operations.md") - there == set()


def test_the_monitors_are_clean_and_complete_from_the_start() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry, "ztf")
    metrics.expect(Book((Rule(min_score=0.9, channels=("a",)),), {"a": ChannelSettings(url_file=Path("x"))}))
    metrics.observe({("t", "0", "min_score 0.9"): 0.9})
    exposition = generate_latest(registry)
    for outcome in ("sent", "retried", "dropped", "held"):
        assert f'skim_notifications_total{{channel="a",outcome="{outcome}"}} 0.0'.encode() in exposition
    assert b'skim_monitor_matches_total{rule="min_score 0.9",stream="ztf"} 0.0' in exposition
    metrics.expect(Book())
    assert b"skim_monitor_threshold{" not in generate_latest(registry)  # a rule that is gone asks for nothing
    try:
        command = [tool("promtool"), "check", "metrics"]
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert subprocess.run(command, input=exposition, capture_output=True, timeout=60).stderr == b""
