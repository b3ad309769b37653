"""The examples in the docstrings are true. Imported by their one name: doctest on a path would load modules twice."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "scoring", "producer", "consumer", "api", "cli")
MODULES = [
    ".".join(("skimstream", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
]
FEWEST_WITH_EXAMPLES = 20


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_many_modules_teach_by_example() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {name for name in MODULES if any(test.examples for test in finder.find(importlib.import_module(name)))}
    assert len(found) >= FEWEST_WITH_EXAMPLES, sorted(found)
