"""The house keeps its rules: who imports whom, what scoring may know, file sizes, one import name, all packages."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each room and what it may import of the others. `schemas.errors` is open to all: there is one root of all errors.
ALLOWED: dict[str, tuple[str, ...]] = {
    "schemas": (),
    "scoring": ("schemas.errors",),
    "producer": ("schemas",),
    "consumer": ("schemas", "scoring"),
    "api": ("schemas.errors", "scoring", "consumer.streams", "consumer.board"),
    "cli": ("schemas", "scoring", "producer", "consumer", "api"),
}
MAX_LINES = 500
# Nothing is ever unpickled.
NOWHERE = ("pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve")
# A score is a pure function of the records: no clock, no environment, no chance, no servers.
NOT_IN_SCORING = (
    *("time", "datetime", "os.environ", "os.environb", "os.getenv", "os.getenvb", "os.urandom"),
    *("random", "secrets", "uuid", "socket", "urllib", "http", "httpx"),
    *("confluent_kafka", "redis", "prometheus_client", "pydantic_settings"),
)
# Classes here draw numbers of their own unless given a seed: numpy's as the first argument, all by one of these names.
RANDOM = ("numpy.random.", "sklearn.ensemble.")
SEEDS = ("seed", "random_state")

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for room in ALLOWED
    for path in sorted((ROOT / room).rglob("*.py"))
}
MODULES = ["skimstream." + name.removesuffix(".__init__") for name in FILES]


def violations(module: str, source: str) -> list[str]:
    """What a file does against the rules, one line each. `module` is its place: "scoring.features.window"."""
    room, tree = module.split(".")[0], ast.parse(source)
    found = [f"{line}: {problem}" for line, problem in _foreign_rooms(module, tree)]
    names = set(_names(tree))
    found += [f"{line}: {name} is used nowhere" for line, name in names if _within(name, NOWHERE)]
    keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "allow_pickle"]
    found += [f"{word.lineno}: allow_pickle is False" for word in keywords if ast.unparse(word.value) != "False"]
    if room == "scoring":
        found += [f"{line}: {name} in scoring" for line, name in names if _within(name, NOT_IN_SCORING)]
        found += [f"{line}: {problem}" for line, problem in _unseeded(tree)]
    return sorted(found, key=lambda text: int(text.split(":")[0]))


def _foreign_rooms(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Absolute imports of our own code, and relative ones of rooms that are closed to this one."""
    place = module.split(".")
    open_to_it = (place[0], *ALLOWED[place[0]])
    for line, level, name in _imports(tree):
        target = ".".join([*place[:-level], name]) if level else name
        if level > len(place):
            yield line, "a relative import beyond the namespace"
        elif not level and name.split(".")[0] in (*ALLOWED, "skimstream"):
            yield line, f"absolute import of {name}: rooms import relatively"
        elif level and not _within(target, open_to_it):
            yield line, f"{place[0]} may not import {target}"


def _imports(tree: ast.AST) -> Iterator[tuple[int, int, str]]:
    """Line, number of leading dots and dotted name of all imports: `from a.b import c` gives a.b.c, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, node.level, f"{node.module}.{alias.name}" if node.module else alias.name


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Local name → the dotted name that it stands for, of all absolute imports in a file."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                aliases[alias.asname or top] = alias.name if alias.asname else top
    return aliases


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """`np.random.default_rng` → numpy.random.default_rng; empty if it isn't a name that was imported."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, aliases)):
        return f"{owner}.{node.attr}"
    return ""


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every absolute dotted name that a file imports or uses, with its line."""
    yield from ((line, name) for line, level, name in _imports(tree) if not level)
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := _dotted(node, aliases)):
            yield node.lineno, name


def _unseeded(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Calls that draw from numpy's global generator, or make a generator or an estimator without a seed."""
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        name = _dotted(node.func, aliases) if isinstance(node, ast.Call) else ""
        if not isinstance(node, ast.Call) or not name.startswith(RANDOM):
            continue
        last, numpy = name.rpartition(".")[2], name.startswith("numpy.")
        first = node.args[:1] if numpy else []
        seeds = [*first, *(keyword.value for keyword in node.keywords if keyword.arg in SEEDS)]
        if last == "default_rng" or last[0].isupper():
            if all(ast.unparse(seed) == "None" for seed in seeds):
                yield node.lineno, f"{name} without a seed"
        elif numpy:
            yield node.lineno, f"{name} draws from a generator that everybody shares"


def loaded_after(code: str) -> set[str]:
    """The top-level modules loaded once `code` has run in a process of its own that can see the rooms as folders."""
    code += "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", FILES)
def test_a_file_keeps_the_rules(module: str) -> None:
    assert violations(module, FILES[module].read_text()) == []


def test_all_rooms_are_looked_at() -> None:
    assert {name.split(".")[0] for name in FILES} == set(ALLOWED)
    assert len(FILES) > 60


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("consumer.worker", "import scoring", "absolute import of scoring"),
        ("consumer.worker", "def f():\n    from schemas.errors import SkimError", "absolute import of schemas"),
        ("cli.main", "from consumer import board", "absolute import of consumer.board"),
        ("cli.main", "import skimstream.scoring.forest as forest", "absolute import of skimstream"),
        ("cli.main", "from skimstream.scoring import forest", "absolute import of skimstream"),
        ("schemas.decode", "from ..scoring.errors import ModelError", "schemas may not import scoring"),
        ("scoring.model", "from ..schemas.columns import Columns", "scoring may not import schemas.columns"),
        ("scoring.model", "from .. import schemas", "scoring may not import schemas"),
        ("scoring.features.window", "from ...consumer.streams import base", "scoring may not import consumer"),
        ("scoring.__init__", "from ..consumer import worker", "scoring may not import consumer.worker"),
        ("producer.send", "from ..scoring.model import Model", "producer may not import scoring"),
        ("producer.send", "from .. import schemas, scoring", "producer may not import scoring"),
        ("consumer.streams.ztf", "from ...producer.archive import messages", "consumer may not import producer"),
        ("consumer.run", "if TYPE_CHECKING:\n    from ..cli.view import Show", "consumer may not import cli"),
        ("api.top", "from ..consumer.worker import Worker", "api may not import consumer.worker"),
        ("api.top", "from .. import consumer", "api may not import consumer"),
        ("api.top", "from ..schemas.columns import Columns", "api may not import schemas.columns"),
        ("schemas.limits", "from ... import schemas", "beyond the namespace"),
        ("cli.top", "import pickle", "pickle is used nowhere"),
        ("cli.top", "from joblib import load", "joblib.load is used nowhere"),
        ("scoring.npz", "import numpy as np\nnp.load(path, allow_pickle=True)", "allow_pickle is False"),
        ("scoring.model", "import time", "time in scoring"),
        ("scoring.model", "from datetime import datetime", "datetime in scoring"),
        ("scoring.model", "import os\nos.environ['HOME']", "os.environ in scoring"),
        ("scoring.model", "from os import getenv", "os.getenv in scoring"),
        ("scoring.model", "import random", "random in scoring"),
        ("scoring.features.window", "from confluent_kafka import Consumer", "confluent_kafka.Consumer in scoring"),
        ("scoring.model", "import redis.asyncio", "redis.asyncio in scoring"),
        ("scoring.model", "import numpy as np\nnp.random.default_rng()", "without a seed"),
        ("scoring.model", "from numpy.random import default_rng as g\ng(None)", "without a seed"),
        ("scoring.model", "import numpy as np\nnp.random.RandomState(seed=None)", "without a seed"),
        ("scoring.model", "import numpy as np\nnp.random.normal(1.0)", "everybody shares"),
        ("scoring.model", "import numpy as np\nnp.random.seed(1)", "everybody shares"),
        ("scoring.train", "from sklearn.ensemble import IsolationForest\nIsolationForest(100)", "without a seed"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, problem: str) -> None:
    found = violations(module, source)
    assert any(problem in text for text in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scoring.features.window", "from ...schemas.errors import SkimError\nfrom ..errors import ModelError"),
        ("scoring.model", "import os\nos.replace('a', 'b')"),
        ("scoring.model", "random = 1\ntime = random"),
        ("scoring.model", "import numpy as np\nrng: np.random.Generator = np.random.default_rng(7)\nrng.normal()"),
        ("scoring.train", "from sklearn.ensemble import IsolationForest\nIsolationForest(10, random_state=s)"),
        ("scoring.train", "from sklearn.ensemble._iforest import _average_path_length\n_average_path_length([9])"),
        ("producer.schema", "from .. import schemas"),
        ("consumer.worker", "import time\nfrom . import board\nfrom ..scoring.model import Model"),
        ("api.top", "from ..consumer.board import read_top\nfrom ..consumer import streams\nfrom .. import scoring"),
        ("cli.main", "from .. import schemas, scoring, producer, consumer, api\nfrom . import values"),
    ],
)
def test_what_is_allowed_is_let_through(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_no_file_is_too_long() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in FILES.items()}
    assert {module: count for module, count in lines.items() if count > MAX_LINES} == {}
    assert max(lines.values()) > 100


def test_packages_are_listed_as_the_folders_are() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = settings["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted({"skimstream." + name.rpartition(".")[0] for name in FILES})
    assert {f"{package}.__init__" for package in listed} <= {f"skimstream.{name}" for name in FILES}
    assert settings["tool"]["setuptools"]["package-dir"] == {f"skimstream.{room}": room for room in ALLOWED}
    makefile = re.search(r"^ROOMS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile
    assert sorted(makefile[1].split()) == sorted(ALLOWED)


def test_the_namespace_has_no_file_of_its_own() -> None:
    assert importlib.import_module("skimstream").__file__ is None
    for folder in (ROOT, ROOT / "skimstream", ROOT / "build" / "types" / "skimstream"):
        assert not (folder / "__init__.py").exists()


def test_every_module_is_loaded_by_one_name_only() -> None:
    loaded = loaded_after("".join(f"import {module}\n" for module in MODULES))
    assert "skimstream" in loaded
    assert loaded & set(ALLOWED) == set()
    assert "scoring" in loaded_after("import scoring")  # so this test would have seen it


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        (
            "import skimstream.consumer.run, skimstream.cli.models\nskimstream.cli.models.load_model('ztf', None)",
            {"sklearn", "joblib", "river"},
        ),
        ("import skimstream.cli.main", {"numba", "sklearn", "river", "confluent_kafka"}),
    ],
    ids=["scoring-without-training", "help-is-instant"],
)
def test_heavy_libraries_stay_out(code: str, heavy: set[str]) -> None:
    loaded = loaded_after(code)
    assert "skimstream" in loaded
    assert loaded & heavy == set()
