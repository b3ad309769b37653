"""The wheel, as a stranger would meet it: built from a clean copy, installed elsewhere, the tree out of reach.

Slow (minutes: every dependency is installed anew), and it needs a package index.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "scoring", "producer", "consumer", "api", "cli")
BUILD_SECONDS, INSTALL_SECONDS = 300, 600
# 20 s of demo; before that its kernels are compiled, as nobody has used this copy before.
DEMO_SECONDS = 240
PARSE_SCHEMAS = """
import json, pathlib
from importlib import resources
import fastavro
from skimstream import schemas

def schemas_in(folder):
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from schemas_in(entry)
        elif entry.name.endswith(".avsc"):
            yield entry

names = [fastavro.parse_schema(json.loads(file.read_text()))["name"] for file in schemas_in(resources.files(schemas))]
print(json.dumps({"from": str(pathlib.Path(schemas.__file__).parent), "names": names}))
"""

# With the extras that the wheel was installed with: what imports others isn't to be imported.
IMPORT_ALL = """
import importlib, json, pkgutil
import skimstream
names = [found.name for found in pkgutil.walk_packages(skimstream.__path__, "skimstream.")]
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
"""


def run(*command: str | Path, cwd: Path, timeout: float) -> str:
    """Standard output of a command that must succeed, in an environment without traces of the tree's own."""
    traces = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "NUMBA_CACHE_DIR")
    environment = {k: v for k, v in os.environ.items() if k not in traces and not k.startswith("SKIM_")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "PYTHONNOUSERSITE": "1"},
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def files_of_the_tree() -> list[str]:
    """What is committed or about to be: neither ignored nor deleted."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT, timeout=60).split("\0")
    return sorted(name for name in listed if name and (ROOT / name).is_file())


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree that holds no link farm and no leftovers."""
    copy = tmp_path_factory.mktemp("source")
    for name in files_of_the_tree():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in isolation."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, source, cwd=out, timeout=BUILD_SECONDS)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder outside the tree with a fresh environment `venv` that has the wheel with the extra `embedded`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv")
    pip = (sys.executable, "-m", "pip", "--python", folder / "venv")  # ours, as putting one there takes long
    # Most modules are never imported here: those that are may be compiled then.
    run(*pip, "install", "--quiet", "--no-compile", f"{wheel}[embedded]", cwd=folder, timeout=INSTALL_SECONDS)
    yield folder
    shutil.rmtree(folder / "venv")  # pytest keeps temporary folders of several runs, and this one is large


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_rooms_and_nothing_else(source: Path, wheel: Path) -> None:
    files = [path.relative_to(source) for room in ROOMS for path in (source / room).rglob("*") if path.is_file()]
    expected = {f"skimstream/{path}" for path in files}
    assert {name for name in names_in(wheel) if ".dist-info/" not in name} == expected


def test_what_is_read_at_run_time_is_in_the_wheel(wheel: Path) -> None:
    names = names_in(wheel)
    assert {f"skimstream/{room}/py.typed" for room in ROOMS} <= names
    assert "skimstream/consumer/commit.lua" in names
    for stream in ("ztf", "behaviour", "observation"):
        assert {f"skimstream/scoring/models/{stream}-demo/{file}" for file in ("manifest.json", "arrays.npz")} <= names
    assert any(re.fullmatch(r"skimstream/schemas/avsc/\w+/\d+\.avsc", name) for name in names)
    assert [name for name in names if "test" in name.lower()] == []
    assert "skimstream/__init__.py" not in names


def test_version(elsewhere: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(elsewhere / "venv/bin/skim", "--version", cwd=elsewhere, timeout=60) == f"skimstream {version}\n"


def test_every_schema_is_read_from_the_wheel(source: Path, elsewhere: Path) -> None:
    answer = json.loads(run(elsewhere / "venv/bin/python", "-c", PARSE_SCHEMAS, cwd=elsewhere, timeout=60))
    assert Path(answer["from"]).is_relative_to(elsewhere / "venv")
    assert len(answer["names"]) == len(list((source / "schemas").rglob("*.avsc"))) > 0


def test_every_module_is_imported_from_the_wheel(elsewhere: Path) -> None:
    names = json.loads(run(elsewhere / "venv/bin/python", "-W", "error", "-c", IMPORT_ALL, cwd=elsewhere, timeout=120))
    assert {name.split(".")[1] for name in names} == set(ROOMS)
    assert len(names) > 150


@pytest.mark.nightly  # its kernels are compiled anew: a minute and a half; the tree's own demo runs by default
def test_demo(elsewhere: Path) -> None:
    out = run(elsewhere / "venv/bin/skim", "demo", "--for", "20s", cwd=elsewhere, timeout=DEMO_SECONDS)
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert figures["events"] > 0, out
