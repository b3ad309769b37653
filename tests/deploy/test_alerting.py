"""From a dead worker to a person: the shipped rules in a real Prometheus, a real Alertmanager, and a webhook."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer

from brokers.alertmanager import Alertmanager, Webhook
from brokers.mock import MockCluster
from brokers.prometheus import Prometheus
from brokers.redis import RedisServer
from brokers.server import free_port, start_process
from stage.listed import sessions

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SECONDS = 40.0  # until the test gives up, each time
EVENTS = 200


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Until it comes true."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"in {SECONDS:.0f} s not: {what}"
        time.sleep(0.05)


def hastened(text: str) -> str:
    """Prometheus' files with all waits and windows in seconds; what is looked for stays as it is."""
    text = re.sub(r"(scrape_interval|evaluation_interval): 15s", r"\1: 1s", text)
    text = re.sub(r"\bfor: \d+m", "for: 1s", text)
    return re.sub(r"\[\d+m\]", "[5s]", text)


def prometheus_files(worker: int, alertmanager: int) -> dict[str, str]:
    """The shipped files for a worker and an Alertmanager on these ports."""
    shipped = (DEPLOY / "prometheus/prometheus.yml").read_text().partition("  - job_name: skim-serve")[0]
    config = hastened(shipped).replace("127.0.0.1:9464", f"127.0.0.1:{worker}")
    rules = {f"rules/{path.name}": hastened(path.read_text()) for path in DEPLOY.glob("prometheus/rules/*.yml")}
    return {"prometheus.yml": config.replace("127.0.0.1:9093", f"127.0.0.1:{alertmanager}"), **rules}


def alertmanager_files(url: str) -> dict[str, str]:
    """The shipped file, in haste, with this receiver."""
    config = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
    haste = {"group_wait": "0s", "group_interval": "1s"}
    config["route"] |= haste
    for route in config["route"]["routes"]:
        route |= haste
    config["receivers"] = [{"name": "people", "webhook_configs": [{"url": url}]}]
    return {"alertmanager.yml": yaml.safe_dump(config)}


@contextmanager
def worker(broker: str, store_url: str, port: int, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`skim run` as a process; killed at the end, if it still runs."""
    command = [str(Path(sys.executable).with_name("skim")), "run", "behaviour", "--metrics-port", str(port)]
    process = start_process([*command, "--kafka", broker, "--redis", store_url], folder / "log", folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_worker_reaches_people_and_so_does_its_return(
    broker: str,
    store_url: str,
    prometheus_server: Callable[[Mapping[str, str]], Prometheus],
    alertmanager_server: Callable[[Mapping[str, str]], Alertmanager],
    webhook: Webhook,
    tmp_path: Path,
) -> None:
    port = free_port()
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    for event in sessions(EVENTS):
        producer.produce("behaviour", event)
    assert producer.flush(SECONDS) == 0
    with worker(broker, store_url, port, tmp_path) as process:
        alertmanager = alertmanager_server(alertmanager_files(webhook.url))
        prometheus = prometheus_server(prometheus_files(port, alertmanager.port))
        wait_for(lambda: prometheus.value("sum(skim_consumed_messages_total)") == EVENTS, "all events are processed")
        wait_for(lambda: prometheus.alerts() == {}, "no alert while all is well")
        webhook.received.clear()  # Prometheus may have been there before the worker
        process.kill()
        wait_for(lambda: ("SkimNotProcessing", "firing") in webhook.told(), "people hear of it")
    told = next(
        one for body in webhook.received for one in body["alerts"] if one["labels"]["alertname"] == "SkimNotProcessing"
    )
    assert told["labels"]["stream"] == "behaviour"
    assert told["labels"]["severity"] == "critical"
    assert told["annotations"]["description"] == "No worker of the stream is left; messages may wait unseen."
    assert told["annotations"]["runbook_url"].endswith("#skimnotprocessing")
    with worker(broker, store_url, port, tmp_path):
        wait_for(lambda: ("SkimNotProcessing", "resolved") in webhook.told(), "people hear that it is over")
        wait_for(lambda: prometheus.alerts() == {}, "no alert is left")


@pytest.mark.nightly
@pytest.mark.parametrize(("out", "alert"), [("redis", "SkimRedisUnavailable"), ("kafka", "SkimKafkaUnavailable")])
def test_an_idle_worker_tells_of_what_is_out(
    out: str,
    alert: str,
    mock_cluster: MockCluster,
    redis_server: Callable[..., RedisServer],
    prometheus_server: Callable[[Mapping[str, str]], Prometheus],
    alertmanager_server: Callable[[Mapping[str, str]], Alertmanager],
    webhook: Webhook,
    tmp_path: Path,
) -> None:
    port, store = free_port(), redis_server(save="", appendonly="yes")
    mock_cluster.create_topic("behaviour", partitions=2)
    alertmanager = alertmanager_server(alertmanager_files(webhook.url))
    with worker(mock_cluster.bootstrap, store.url, port, tmp_path):
        prometheus = prometheus_server(prometheus_files(port, alertmanager.port))
        wait_for(lambda: prometheus.value("sum(skim_partitions_assigned)") == 2, "all partitions are assigned")
        wait_for(lambda: prometheus.alerts() == {}, "no alert while nothing comes")
        if out == "redis":
            store.kill()
        else:
            mock_cluster.broker_down()
        wait_for(lambda: (alert, "firing") in webhook.told(), "people hear of it")
        if out == "redis":
            store.start()
        else:
            mock_cluster.broker_up()
        wait_for(lambda: (alert, "resolved") in webhook.told(), "people hear that it is over")
        wait_for(lambda: prometheus.alerts() == {}, "no alert is left")
    assert "SkimNotProcessing" not in dict(webhook.told()[webhook.told().index((alert, "firing")) :])
