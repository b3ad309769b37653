"""Every setting with its origin; nothing secret leaves."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from skimstream.consumer.config import load_settings
from skimstream.consumer.origins import Origins, effective, leaves, librdkafka, masked

FILE = """\
stream = "ztf"

[kafka]
bootstrap = "file:1"
options = { "security.protocol" = "SASL_SSL" }

[gate]
min_real_bogus = 0.6
"""


def origins_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str = FILE, flags: Any = None, **environment: str
) -> dict[str, str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "skim.toml"
    file.write_text(text)
    settings = load_settings(file, {"kafka": {"group": "g"}} if flags is None else flags)
    found = effective(settings, Origins(file, {("kafka", "group"): "--group"} if flags is None else {}))
    return {".".join(one.key): one.origin.replace(str(file), "file") for one in found}


def test_each_kind_of_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = origins_of(
        tmp_path,
        monkeypatch,
        SKIM_KAFKA__BOOTSTRAP="env:1",
        skim_batch__size="7",
        SKIM_GATE='{"max_bad_pixels": 2}',
        SKIM_KAFKA__GROUP="loses against the flag",
    )
    assert found["kafka.bootstrap"] == "SKIM_KAFKA__BOOTSTRAP"
    assert found["kafka.group"] == "--group"
    assert found["kafka.options.security.protocol"] == "file:5"
    assert found["batch.size"] == "skim_batch__size"
    assert found["gate.min_real_bogus"] == "file:8"
    assert found["gate.max_bad_pixels"] == "SKIM_GATE"
    assert found["stream"] == "file:1"
    assert found["redis.url"] == found["board.kept"] == "default"


OWN = """\
[stream.payments]
topic = "pay"
key = "card"
time = "at"
numbers = ["amount"]
kept = 50
"""


def test_what_a_definition_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = origins_of(tmp_path, monkeypatch, OWN, {})
    assert (found["stream"], found["topic"], found["board.kept"]) == ("file:1", "file:2", "file:6")
    assert (found["stream.payments.numbers"], found["stream.payments.half_lives"]) == ("file:5", "default")
    assert origins_of(tmp_path, monkeypatch, OWN, {}, SKIM_TOPIC="t")["topic"] == "SKIM_TOPIC"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sasl.password", False),
        ("ssl.key.password", False),
        ("ssl.keystore.password", False),
        ("ssl.key.pem", False),
        ("sasl.oauthbearer.client.secret", False),
        ("sasl.oauthbearer.config", False),
        ("sasl.oauthbearer.assertion.private.key.passphrase", False),
        ("sasl.oauthbearer.assertion.private.key.pem", False),
        ("sasl.oauthbearer.token.endpoint.url", True),
        ("sasl.oauthbearer.client.id", True),
        ("sasl.username", True),
        ("ssl.ca.location", True),
        ("ssl.key.location", True),
        ("ssl.certificate.pem", True),
    ],
)
def test_which_options_are_secret(name: str, shown: bool) -> None:
    assert masked(("kafka", "options", name), "hush") == (None if shown else "***")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SecretStr("redis://:p%40ss@h:1/0"), "redis://:***@h:1/0"),
        (SecretStr("rediss://u:hush@h/0"), "rediss://u:***@h/0"),
        (SecretStr("unix:///run/redis.sock?password=hush&db=1"), "unix:///run/redis.sock?password=***&db=1"),
        (SecretStr("redis://h:1/0"), None),
        (SecretStr("slack://hush/hush/hush"), "***"),
        (SecretStr(""), None),
        ("https://u:hush@reg/x", "https://u:***@reg/x"),
        ("https://hush@reg/x", "https://***@reg/x"),
        ("https://reg/x", None),
    ],
)
def test_what_is_left_of_a_url(value: SecretStr | str, shown: str | None) -> None:
    assert masked(("anything", "url"), value) == shown


def test_every_secret_of_a_model_is_masked_wherever_it_stands() -> None:
    class Channel(BaseModel):
        url: SecretStr = SecretStr("https://hooks.example/hush")

    class Some(BaseModel):
        channels: dict[str, Channel] = {"ops": Channel()}
        several: list[Channel] = [Channel(), Channel()]

    places = dict(leaves(Some()))
    assert set(places) == {("channels", "ops", "url"), ("several", "0", "url"), ("several", "1", "url")}
    assert {masked(place, value) for place, value in places.items()} == {"***"}


def test_the_clients_options_say_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('[kafka]\nbootstrap = "b:1"\noptions = { "sasl.password" = "hush" }\n')
    options = {"bootstrap.servers": "b:1", "sasl.password": "hush", "log_level": 2, "error_cb": print}
    found = {one.key[0]: (one.value, one.origin) for one in librdkafka(options, Origins(file, {}))}
    assert found == {
        "bootstrap.servers": ("b:1", f"{file}:2"),
        "sasl.password": ("***", f"{file}:3"),
        "log_level": (2, "skim"),
    }
