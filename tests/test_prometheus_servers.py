"""The Prometheus and the Alertmanager of the tests: each does what its name says."""

import time
from collections.abc import Callable, Mapping

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from brokers.alertmanager import Alertmanager, Webhook
from brokers.prometheus import Prometheus, PrometheusError
from brokers.server import ServerFailed, free_port

SECONDS = 20.0
CONFIG = """
global: {{scrape_interval: 100ms, scrape_timeout: 100ms, evaluation_interval: 100ms}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: test
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
RULES = """
groups:
  - name: test
    rules:
      - {alert: Hot, expr: temperature > 30}
"""
ROUTES = """
route: {{receiver: test, group_wait: 0s, group_interval: 1s}}
receivers:
  - name: test
    webhook_configs: [{{url: "{url}"}}]
"""

MakePrometheus = Callable[[Mapping[str, str]], Prometheus]


def eventually(true: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.nightly  # it begins to scrape after five seconds, and tests/deploy/test_alerting.py needs all of it
def test_prometheus_scrapes_evaluates_and_keeps_its_data(prometheus_server: MakePrometheus) -> None:
    registry = CollectorRegistry()
    temperature = Gauge("temperature", "of the room", registry=registry)
    served, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
    port = served.server_port
    try:
        temperature.set(20)
        server = prometheus_server({"prometheus.yml": CONFIG.format(port=port), "rules.yml": RULES})
        assert eventually(lambda: server.value("temperature") == 20.0)
        assert server.targets() == {f"127.0.0.1:{port}": "up"}
        assert server.alerts() == {}
        temperature.set(31)
        assert eventually(lambda: server.alerts() == {"Hot": "firing"})
        began = time.time() - SECONDS
        server.files["rules.yml"] = RULES.replace("30", "40")
        server.reload()
        assert eventually(lambda: server.alerts() == {})
    finally:
        served.shutdown()
        served.server_close()
    assert eventually(lambda: list(server.targets().values()) == ["down"])
    server.restart()
    assert len(server.query_range("temperature", began, time.time(), 0.1)) == 1
    assert server.value("absent(nothing)") == 1.0
    assert server.value("nothing") is None
    with pytest.raises(PrometheusError, match="parse error"):
        server.query("temperature >")


def test_a_prometheus_that_cant_read_its_configuration_says_why(prometheus_server: MakePrometheus) -> None:
    with pytest.raises(ServerFailed, match="no_such_setting"):
        prometheus_server({"prometheus.yml": "no_such_setting: 1"})


def test_alertmanager_tells_the_webhook(
    alertmanager_server: Callable[[Mapping[str, str]], Alertmanager], webhook: Webhook
) -> None:
    server = alertmanager_server({"alertmanager.yml": ROUTES.format(url=webhook.url)})
    server.post({"labels": {"alertname": "Hot"}})
    assert eventually(lambda: webhook.told() == [("Hot", "firing")])
    server.post({"labels": {"alertname": "Hot"}, "endsAt": "2020-01-01T00:00:00Z"})
    assert eventually(lambda: webhook.told() == [("Hot", "firing"), ("Hot", "resolved")])


def test_servers_of_one_run_dont_meet(prometheus_server: MakePrometheus) -> None:
    """Two at once, each with its own folder; nothing is scraped but what was told."""
    first, second = (prometheus_server({"prometheus.yml": CONFIG.format(port=free_port())}) for _ in range(2))
    assert first.port != second.port
    assert first.folder != second.folder
