"""Rules as TOML has them: what they ask for, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.rule import Condition, Rule

RECORD = {
    "score": 0.999,
    "object": "ZTF1",
    "severity": None,
    "candidate": {"drb": 0.95, "band": "g", "magpsf": None, "moving": True},
    "features": {"g_amplitude": 2.0},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("candidate.drb > 0.9", True),
        ("candidate.drb>0.95", False),
        ("candidate.drb >= 0.95", True),
        ('candidate.band == "g"', True),
        ('candidate.band != "g"', False),
        ("features.g_amplitude < 3", True),
        ("candidate.moving == true", True),
        ("candidate.moving == 1", False),
        ("severity == null", True),
        ("severity != null", False),
        ("candidate.drb != null", True),
        ("candidate.magpsf > 1", False),  # it isn't known
        ("candidate.nothing < 1", False),
        ("candidate.nothing != 1", False),  # a field that isn't there meets nothing
        ("candidate < 1", False),
        ("object.name == 1", False),
        ("candidate.band > 1", False),
    ],
)
def test_a_condition(text: str, holds: bool) -> None:
    assert Condition.read(text).holds(RECORD) is holds


@pytest.mark.parametrize(
    "text", ["", "candidate.drb", "candidate.drb > ", "candidate.drb = 1", 'x > "a"', "x == [1]", "x > null", "1 > x"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r"condition|needs a number|is no number"):
        Condition.read(text)


def test_all_conditions_must_hold() -> None:
    both = ("candidate.drb > 0.9", 'candidate.band == "r"')
    assert Rule(min_score=0.9, where=both[:1]).admits(RECORD)
    assert not Rule(min_score=0.9, where=both).admits(RECORD)


def test_a_rule_is_named_by_its_bar_if_it_has_no_name() -> None:
    assert Rule(false_alarm_rate=1e-4).name == "false_alarm_rate 0.0001"
    assert Rule(name="mine", false_alarm_rate=1e-4).bar == ("false_alarm_rate", 1e-4)
    assert (
        Rule.model_validate({"min_score": 0.9, "cooldown": "6h", "digest": "90s", "channels": "a"}).cooldown == 21_600
    )


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"min_score": 0.9, "alerts_per_night": 3},
        {"min_score": 1.1},
        {"false_alarm_rate": 0},
        {"alerts_per_night": -1},
        {"min_score": 0.9, "where": "drb 1"},
        {"min_score": 0.9, "cooldown": "soon"},
        {"min_score": 0.9, "name": "a/b"},
        {"min_score": 0.9, "name": "a\nb"},
        {"min_score": 0.9, "unknown": 1},
    ],
)
def test_what_is_no_rule(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(data)


def test_settings_name_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    for text, expected in (
        ('[[monitor]]\nmin_score = 0.9\nchannels = ["slack"]', "channel 'slack', which isn't among"),
        ("[[monitor]]\nmin_score = 0.9\n[[monitor]]\nmin_score = 0.9", "two rules of monitor are named"),
        ('[summary]\nchannels = ["slack"]', "summary wants the channel"),
        ("[channels.slack]\npictures = false", "needs url or url_file"),
        ("[[monitor]]\nmin_score = 0.9\nwhere = ['drb > high']", "is no number"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=expected):
            load_settings(file, {})


def test_a_url_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('[[monitor]]\nmin_score = 0.9\nchannels = ["team"]\n[channels.team]\npictures = false\n')
    monkeypatch.setenv("SKIM_CHANNELS__TEAM__URL", "slack://s3cret/token")
    settings = load_settings(file, {})
    assert settings.channels["team"].url is not None
    assert settings.channels["team"].url.get_secret_value() == "slack://s3cret/token"
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()
