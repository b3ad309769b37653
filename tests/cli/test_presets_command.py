"""`skim presets`, and that the lines which it shows are lines that `skim` takes."""

import json

import pytest
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.consumer.preset import NAMES


def skim(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_all_of_them() -> None:
    shown = skim("presets")
    assert [name for name in NAMES if name not in shown] == []
    assert [json.loads(line)["name"] for line in skim("presets", "--json").splitlines()] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_in_full(name: str) -> None:
    shown = skim("presets", name)
    assert [head for head in ("You need:", "It sets, where you don't:", "Start:") if head not in shown] == []
    assert ("Not confirmed:" in shown) == (name != "ztf-archive")
    assert f'framing = "{json.loads(skim("presets", name, "--json"))["settings"]["framing"]}"' in shown


def test_a_file_to_start_from() -> None:
    assert skim("presets", "lasair", "--toml").startswith('preset = "lasair"\n')
    assert skim("presets", "ztf", "--toml") == 'preset = "ztf"\n'
    skim("presets", "--toml", code=2)


def test_an_unknown_one() -> None:
    done = CliRunner().invoke(app, ["presets", "antaress"])
    assert "did you mean antares" in str(done.exception)
