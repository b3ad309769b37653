"""What deploy/prometheus and deploy/alertmanager say is right: by Prometheus' own tools, and by our registries."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from brokers.server import Unavailable
from brokers.tools import tool
from skimstream.api.metrics import Metrics as ServerMetrics
from skimstream.consumer.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
ALERTMANAGER = ROOT / "deploy/alertmanager/alertmanager.yml"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
# Registered only where rules ask for notifications.
OPTIONAL = {"skim_notifications_total", "skim_notifications_waiting"}
# Prometheus' own.
GIVEN = {"up", "ALERTS"}
SUFFIXES = ("_bucket", "_sum", "_count", "")


def run(name: str, *arguments: str | Path) -> str:
    """What a tool says of files that are right; skipped where there is no such tool."""
    try:
        command = [tool(name), *map(str, arguments)]
    except Unavailable as reason:
        pytest.skip(str(reason))
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """All rules that have a name of this kind ("alert", "record"), by name."""
    found = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return {rule[kind]: rule for rule in found if kind in rule}


def test_prometheus_takes_the_configuration_and_all_rules() -> None:
    said = run("promtool", "check", "config", "prometheus.yml")
    assert f"{len(RULES)} rule files found" in said
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)


def test_alertmanager_takes_its_configuration() -> None:
    run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_cases_come_out_as_they_say(path: Path) -> None:
    run("promtool", "test", "rules", path)


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not() -> None:
    text = "".join(path.read_text() for path in CASES)
    silent = [path.read_text().count("exp_samples: []") for path in CASES]
    assert min(silent) > 0
    for name in rules("alert"):
        fires = f'alertname="{name}", alertstate="firing"' in text
        assert fires or re.search(rf"alertname: {name}\s+eval_time: \S+\s+exp_alerts:\s+- exp_labels", text), name


@pytest.mark.parametrize("name", sorted(rules("alert")))
def test_every_alert_says_what_to_do(name: str) -> None:
    alert = rules("alert")[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert anchor == name.lower()


def test_no_heading_of_an_alert_that_there_is_not() -> None:
    headings = re.findall(r"^### (Skim\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rules("alert"))


def test_rules_use_metrics_that_there_are() -> None:
    exposed = {
        family.name + ("_total" if family.type == "counter" else suffix)
        for registry in (Metrics(CollectorRegistry(), "ztf", ()).registry, ServerMetrics().registry)
        for family in registry.collect()
        for suffix in SUFFIXES
    }
    known = exposed | OPTIONAL | GIVEN | set(rules("record"))
    cases = re.findall(r"series: '([^']+)'", "".join(path.read_text() for path in CASES))
    expressions = [rule["expr"] for kind in ("alert", "record") for rule in rules(kind).values()] + cases
    used = set(re.findall(r"\b(?:\w+:)?(?:skim|process)_\w+(?::\w+)?\b", "\n".join(expressions)))
    assert len(used) > 15
    assert used <= known, used - known


def test_docs_know_what_is_recorded() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    assert [name for name in rules("record") if f"`{name}`" not in text] == []
