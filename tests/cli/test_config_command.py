"""`skim config`, and the file that it writes."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.cli.settings_file import settings_file, toml
from skimstream.consumer.config import load_settings
from skimstream.consumer.origins import Setting

SECRETS = ("hush1", "hush2", "hush3", "hush4")
FILE = """\
stream = "ztf"
topic = "a \\"quoted\\" topic\\u0007"
model = "my-model"
[kafka]
bootstrap = "a:1,b:2"
options = { "security.protocol" = "SASL_SSL", "sasl.password" = "hush1", "linger.ms" = 5, "ssl.key.password" = "hush2" }
[redis]
url = "redis://:hush3@h:6379/0"
[registry]
url = "https://u:hush4@reg.example/x"
[history]
mode = "state"
"""
OWN = """\
[stream.payments]
topic = "pay"
key = "card"
time = "at"
numbers = ["amount"]
model = "here/model"
kept = 50
[stream.payments.units]
amount = "EUR"
"""


def skim(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["config", *arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def written(tmp_path: Path, text: str, *arguments: str) -> Path:
    file = tmp_path / "skim.toml"
    file.write_text(text)
    again = tmp_path / "elsewhere" / "again.toml"
    again.parent.mkdir(exist_ok=True)
    again.write_text(skim("-c", str(file), "--toml", *arguments))
    return again


@pytest.mark.parametrize("how", [(), ("--json",), ("--toml",)])
def test_no_secret_is_shown(how: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text(FILE)
    shown = skim("-c", str(file), *how)
    assert [one for one in SECRETS if one in shown] == []
    assert shown.count("***") >= 4
    assert "security.protocol" in shown


def test_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIM_BATCH__SIZE", "77")
    file = tmp_path / "skim.toml"
    file.write_text(FILE)
    shown = json.loads(skim("ztf", "-c", str(file), "--json", "--topic", "t"))
    settings = {one["key"]: (one["value"], one["origin"], one["masked"]) for one in shown["settings"]}
    assert settings["stream"] == ("ztf", "STREAM", False)
    assert settings["topic"] == ("t", "--topic", False)
    assert settings["batch.size"] == (77, "SKIM_BATCH__SIZE", False)
    assert settings["redis.url"] == ("redis://:***@h:6379/0", f"{file}:8", True)
    options = {one["key"]: (one["value"], one["origin"]) for one in shown["librdkafka"]}
    assert options["enable.auto.commit"] == (False, "skim")
    assert options["linger.ms"] == (5, f"{file}:6")


def test_the_file_gives_the_same_settings_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIM_BATCH__SIZE", "77")
    again = written(tmp_path, FILE, "--group", "mine")
    monkeypatch.delenv("SKIM_BATCH__SIZE")
    secret = {
        "redis": {"url": "redis://:hush3@h:6379/0"},
        "registry": {"url": "https://u:hush4@reg.example/x"},
        "kafka": {"options": {"sasl.password": "hush1", "ssl.key.password": "hush2"}},
    }
    before = load_settings(tmp_path / "skim.toml", {"batch": {"size": 77}, "kafka": {"group": "mine"}})
    assert load_settings(again, secret).model_dump() == before.model_dump()


def test_a_file_with_definitions_does_too(tmp_path: Path) -> None:
    again = written(tmp_path, OWN)
    before, after = load_settings(tmp_path / "skim.toml", {}), load_settings(again, {})
    assert after.model_dump() == before.model_dump()
    assert after.own == before.own
    assert after.model == tmp_path / "here" / "model"


def test_of_several_definitions_the_command_line_says_which(tmp_path: Path) -> None:
    again = written(tmp_path, OWN + OWN.replace("payments", "refunds"), "refunds")
    assert again.read_text().startswith("# stream: skim run refunds\n")
    before, after = (load_settings(one, {"stream": "refunds"}) for one in (tmp_path / "skim.toml", again))
    assert after.model_dump() == before.model_dump()


def test_lists_of_tables_and_tables_in_them() -> None:
    rows = {("a",): 1, ("m", "0", "x"): 2, ("m", "0", "when", "y"): 3, ("m", "1", "x"): 4, ("c", "ops", "url"): "u"}
    text = settings_file([Setting(key, value, "default", False) for key, value in rows.items()], {})
    assert tomllib.loads(text) == {"a": 1, "m": [{"x": 2, "when": {"y": 3}}, {"x": 4}], "c": {"ops": {"url": "u"}}}


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(VALUES)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


def test_wrong_settings_and_both_formats(tmp_path: Path) -> None:
    skim("--json", "--toml", code=2)
    file = tmp_path / "skim.toml"
    file.write_text("[batch]\nsise = 1\n")
    done = CliRunner().invoke(app, ["config", "-c", str(file)])
    assert "batch.sise" in str(done.exception)
