"""Brings docker-compose.yml up under a name of its own, waits for the first anomaly, and takes everything down again.

    python deploy/compose_test.py

Exit codes: 0 an anomaly came out of /api/v1/anomaly; 1 none did, the logs say why; 69 there is no container engine.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# sysexits.h: a service is unavailable.
NO_ENGINE = 69
# Images are fetched and built before; then Kafka starts, and some hundred events warm the scores up.
WAIT_SECONDS = 300.0
PORTS = {"KAFKA_PORT": "19092", "REDIS_PORT": "16379", "PAGE_PORT": "18000", "PROMETHEUS_PORT": "19090"}
PORTS |= {"ALERTMANAGER_PORT": "19093", "GRAFANA_PORT": "13000"}
COMPOSE = ("docker", "compose", "--project-name", "skimstream-test", "--profile", "simulator")
ANOMALY = f"http://127.0.0.1:{PORTS['PAGE_PORT']}/api/v1/anomaly?n=1"


def engine() -> str:
    """Why there is no engine with Compose; empty if there is one."""
    for command in (("docker", "info"), ("docker", "compose", "version")):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            return "there is no command docker"
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} doesn't end"
        if done.returncode:
            return f"{' '.join(command)}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}"
    return ""


def first_anomaly(seconds: float) -> dict[str, object] | None:
    """The first row of the API, once there is one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(ANOMALY, timeout=5) as answer:
                rows = json.load(answer)
            if rows:
                return dict(rows[0])
        except (OSError, urllib.error.HTTPError):
            pass  # not up yet, or no board yet
        time.sleep(2)
    return None


def compose(*words: str) -> int:
    """A command of Compose's, its output left on the screen."""
    return subprocess.run((*COMPOSE, *words), cwd=ROOT, env={**os.environ, **PORTS}, check=False).returncode


def main() -> int:
    """Up, wait, down."""
    if problem := engine():
        print(f"compose-test: not run, no container engine: {problem}", file=sys.stderr)
        return NO_ENGINE
    subprocess.run(("sh", "deploy/secrets.sh"), cwd=ROOT, check=True)
    try:
        if compose("up", "--build", "--detach"):
            return 1
        began = time.monotonic()
        row = first_anomaly(WAIT_SECONDS)
        if row is None:
            compose("ps", "--all")
            compose("logs", "--tail", "50")
            print(f"compose-test: no anomaly within {WAIT_SECONDS:.0f} s", file=sys.stderr)
            return 1
        print(f"compose-test: the first anomaly after {time.monotonic() - began:.0f} s: {row.get('i:objectId', row)}")
        return 0
    finally:
        compose("down", "--volumes", "--timeout", "60")


if __name__ == "__main__":
    sys.exit(main())
