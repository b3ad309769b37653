"""Logins: of settings and of other clients' files, who wins, what is missing, and that nothing secret leaves."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.consumer.client_files import CredentialsError, hop
from skimstream.consumer.config import ConfigError, Settings, load_settings
from skimstream.consumer.doctor.brokers import brokers
from skimstream.consumer.login import NotReady, lacking, login_of, require, unwritable
from skimstream.consumer.preset import NAMES, preset_of
from skimstream.consumer.run import group_options, kafka_options, outgoing_options, reading_options
from skimstream.consumer.source import consumer_options
from skimstream.consumer.topics import Single
from stage.tlsport import certificate

ME: dict[str, Any] = {"user": "me", "password": "hush"}
NOWHERE = Path("/nowhere")


def settings(preset: str = "", options: Mapping[str, Any] | None = None, **kafka: Any) -> Settings:
    topic = {"topic": "some"} if preset else {}
    return load_settings(None, {"preset": preset, **topic, "kafka": {"options": options, **kafka}})


def lacks(of: Settings, home: Path = NOWHERE) -> list[str]:
    return [one.id for one in lacking(of, login_of(of, home, {}))]


@pytest.mark.parametrize("name", NAMES)
def test_librdkafka_takes_the_options_of_every_preset(name: str, tmp_path: Path) -> None:
    """It refuses keys that it doesn't know, and values that don't go together."""
    ca = {"ssl.ca.location": str(certificate(tmp_path, "ca.example")[1])} if name == "antares" else {}
    user = "babamul-me" if name == "babamul" else "me"
    login = {"user": user, "password": "hush"} if preset_of(name).login else {}
    mine = settings(name, ca, bootstrap="127.0.0.1:1", **login)
    assert lacks(mine) == (["preset-required"] if "stream" in preset_of(name).required else [])
    options = {**kafka_options(mine), **group_options(mine)}
    named = name in ("rubin", "babamul", "scimma")
    assert options["group.id"] == (f"{user}-skimstream" if named else "skimstream")
    if name == "gcn":
        assert (options["sasl.oauthbearer.client.id"], options["sasl.oauthbearer.client.secret"]) == ("me", "hush")
        options["sasl.oauthbearer.token.endpoint.url"] = "https://127.0.0.1:1/token"  # the real one isn't for tests
    Consumer(consumer_options(options), logger=logging.Logger("mute")).close()


def test_explicit_options_come_before_the_login_and_that_before_the_preset() -> None:
    mine = settings("rubin", {"sasl.username": "other", "sasl.mechanism": "SCRAM-SHA-256"}, **ME)
    options = login_of(mine).options
    assert (options["sasl.username"], options["sasl.password"]) == ("other", "hush")
    assert (options["sasl.mechanism"], options["security.protocol"]) == ("SCRAM-SHA-256", "SASL_PLAINTEXT")
    assert login_of(mine).group == "other-skimstream"


def test_a_password_from_a_file(tmp_path: Path) -> None:
    file, nowhere = tmp_path / "password", NOWHERE / "x"
    file.write_text("hush\n")
    assert login_of(settings(user="me", password_file=str(file))).options["sasl.password"] == "hush"
    assert login_of(settings(**ME, password_file=nowhere)).options["sasl.password"] == "hush"
    with pytest.raises(CredentialsError, match=r"password_file: /nowhere/x can't be read \(No such file"):
        login_of(settings(password_file=nowhere))


HOP = """\
[[auth]]
username = "me-12"
password = "hush"
hostname = "kafka.scimma.org"
[[auth]]
username = "client"
password = "hush2"
hostname = "kafka.gcn.nasa.gov:9092"
token_endpoint = "https://auth.gcn.nasa.gov/oauth2/token"
[[auth]]
username = "anywhere"
password = "hush3"
protocol = "SASL_PLAINTEXT"
mechanism = "PLAIN"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in {
        ".config/hop/auth.toml": HOP,
        ".finkclient/ztf_credentials.yml": "username: me\npassword:\nservers: 'fink.example:24499'\ngroup_id: mine\n",
        ".finkclient/lsst_credentials.yml": "username: me\npassword: hush\nservers: fink.example:1\ngroupid: mine\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600)
    return tmp_path


def test_hops_file_is_read_when_asked_and_chosen_by_host(home: Path) -> None:
    assert lacks(settings("scimma"), home) == ["preset-required", "preset-login"]
    login = login_of(settings("scimma", credentials="hop"), home, {})
    assert (login.user, login.group, login.options["sasl.password"]) == ("me-12", "me-12-skimstream", "hush")
    assert login.origins["sasl.password"] == str(home / ".config/hop/auth.toml")
    gcn = login_of(settings("gcn", credentials="hop"), home, {}).options
    assert (gcn["sasl.oauthbearer.client.id"], gcn["sasl.oauthbearer.client.secret"]) == ("client", "hush2")
    other = login_of(settings(credentials="hop", bootstrap="b:1"), home, {}).options
    assert (other["sasl.username"], other["security.protocol"], other["sasl.mechanism"]) == (
        "anywhere",
        "SASL_PLAINTEXT",
        "PLAIN",
    )
    moved = {"XDG_CONFIG_HOME": str(home / ".config")}
    assert login_of(settings("scimma", credentials="hop"), NOWHERE, moved).user == "me-12"


def test_what_a_client_keeps_comes_before_the_preset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / ".config/hop/auth.toml"
    file.write_text(HOP.replace('"kafka.scimma.org"', '"kafka.scimma.org"\nmechanism = "SCRAM_SHA_256"'))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    mine = settings("scimma", {"linger.ms": 7}, credentials="hop")
    everything = {**kafka_options(mine), **group_options(mine)}  # as a worker has them
    assert (everything["sasl.mechanism"], everything["linger.ms"]) == ("SCRAM-SHA-256", 7)
    own = settings("scimma", {"sasl.mechanism": "PLAIN"}, credentials="hop")
    assert {**kafka_options(own), **group_options(own)}["sasl.mechanism"] == "PLAIN"


def test_hops_file_that_is_not_to_be_used(home: Path) -> None:
    file = home / ".config/hop/auth.toml"
    file.chmod(0o640)
    with pytest.raises(CredentialsError, match=r"others may read it; chmod 600"):
        hop("kafka.scimma.org:9092", "", home, {})
    file.chmod(0o600)
    twice = HOP.replace("kafka.gcn.nasa.gov:9092", "kafka.scimma.org")
    others = HOP.replace("kafka.scimma.org", "other.example").partition('[[auth]]\nusername = "any')[0]
    for text, word in {
        twice: "more than one entry for kafka.scimma.org:9092: say",
        others: "no entry for kafka",
        "auth = 7": r"has no \[\[auth\]\]",
        "password = hush": "is no TOML",
    }.items():
        file.write_text(text)
        with pytest.raises(CredentialsError, match=word) as caught:
            hop("kafka.scimma.org:9092", "", home, {})
        assert "hush" not in str(caught.value)


def test_finks_file_names_servers_and_group_and_seldom_a_login(home: Path) -> None:
    ztf = login_of(settings("fink-ztf", credentials="fink"), home, {})
    assert (ztf.options["bootstrap.servers"], ztf.group) == ("fink.example:24499", "mine")
    assert "security.protocol" not in ztf.options
    lsst = login_of(settings("fink-lsst", credentials="fink"), home, {}).options
    assert (lsst["sasl.username"], lsst["sasl.mechanism"]) == ("me", "SCRAM-SHA-512")
    assert lacks(settings("fink-ztf", credentials="fink"), home) == []
    assert lacks(settings("fink-ztf"), home) == ["preset-required"]
    mine = login_of(settings("fink-ztf", credentials="fink", bootstrap="b:1", group="g"), home, {})
    assert (mine.options["bootstrap.servers"], mine.group) == ("b:1", "g")
    file = home / ".finkclient/ztf_credentials.yml"
    for text in ("password: [hush\nservers: x", "password: hush"):
        file.write_text(text)
        with pytest.raises(CredentialsError) as caught:
            login_of(settings("fink-ztf", credentials="fink"), home, {})
        assert "hush" not in f"{caught.value}{caught.value.__cause__}"


def test_variables_of_other_clients(home: Path) -> None:
    names = {"USERNAME": "babamul-me", "PASSWORD": "hush", "SERVER": "babamul.umn.edu:9093"}
    theirs = {f"BABAMUL_KAFKA_{name}": value for name, value in names.items()}
    found = login_of(settings("babamul", credentials="babamul"), home, theirs)
    assert (found.options["bootstrap.servers"], found.group) == ("babamul.umn.edu:9093", "babamul-me-skimstream")
    assert login_of(settings("babamul"), home, theirs).user == ""
    gcn = {"KAFKA_SASL_OAUTHBEARER_CLIENT_ID": "id", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "hush"}
    options = login_of(settings("gcn", credentials="gcn"), home, gcn).options
    assert (options["sasl.oauthbearer.client.id"], options["sasl.oauthbearer.client.secret"]) == ("id", "hush")


def test_a_login_that_is_missing_says_which_variables() -> None:
    with pytest.raises(NotReady, match=r"preset rubin needs a user name and password: set SKIM_KAFKA__USER and SKIM_"):
        require(settings("rubin"))
    with pytest.raises(NotReady, match=r'client id and secret.*kafka.credentials = "gcn"'):
        require(settings("gcn", user="id"), stream=False)
    with pytest.raises(NotReady, match=r"begin with babamul-.*an e-mail address isn't one"):
        require(settings("babamul", **{**ME, "user": "me@example.org"}), stream=False)
    done = CliRunner().invoke(app, ["run", "--preset", "rubin"])
    assert isinstance(done.exception, NotReady)
    # Brokers that want no login, as one's own behind a preset, need none.
    assert lacks(settings("rubin", {"security.protocol": "PLAINTEXT"})) == []
    assert lacks(settings()) == []
    found = [one.id for one in brokers(settings("rubin", user="me"), Single("t"))]
    assert found == ["preset-login"]
    [credentials] = brokers(settings("rubin", password_file=NOWHERE / "x"), Single("t"))
    assert credentials.id == "credentials"


def test_the_rule_of_the_group(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"rubin wants groups that begin with the user name.*write '\{user\}-night'"):
        settings("rubin", user="me", group="night")
    with pytest.raises(ConfigError, match="begin with the user name"):
        settings("babamul", {"sasl.username": "babamul-me"}, group="night")
    assert login_of(settings("rubin", user="me", group="me-night")).group == "me-night"
    assert login_of(settings("rubin", user="me", group="{user}-night")).group == "me-night"
    assert reading_options(settings("rubin", user="me"))["group.id"] == "me-skimstream"
    # A user's name that only a file or a variable knows is not known before it is needed.
    theirs = {"BABAMUL_KAFKA_USERNAME": "babamul-me", "BABAMUL_KAFKA_PASSWORD": "hush"}
    mine = settings("babamul", credentials="babamul", group="night")
    assert [one.id for one in lacking(mine, login_of(mine, home, theirs), stream=False)] == ["group-name"]
    assert settings("scimma", user="me", group="any").kafka.group == "any"


def test_a_stream_that_is_read_only_wants_another_place_to_write() -> None:
    assert "set outgoing.bootstrap" in str(unwritable(settings("ztf")))
    assert "set outgoing.bootstrap" in str(unwritable(settings("fink-ztf", bootstrap="fink.example:1")))
    assert unwritable(settings("ztf-archive")) is unwritable(settings()) is None
    assert unwritable(settings("rubin", bootstrap="127.0.0.1:1")) is None  # a Kafka of one's own behind the preset
    mine = load_settings(None, {"preset": "rubin", "outgoing": {"bootstrap": "b:1", "options": {"linger.ms": 7}}})
    assert unwritable(mine) is None
    options = outgoing_options(mine)
    assert (options["bootstrap.servers"], options["linger.ms"]) == ("b:1", 7)
    assert "security.protocol" not in options
    assert outgoing_options(settings("rubin"))["security.protocol"] == "SASL_PLAINTEXT"


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """The command sets it up to write where the runner listens, which then is closed."""
    root, before = logging.getLogger(), (logging.getLogger().level, list(logging.getLogger().handlers))
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.mark.usefixtures("_logging_as_before")
def test_no_secret_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for how in ((), ("--json",), ("--toml",)):
        for more in ({"SKIM_KAFKA__CREDENTIALS": "hop"}, {"SKIM_KAFKA__USER": "me-12", "SKIM_KAFKA__PASSWORD": "hush"}):
            done = CliRunner(env=more).invoke(app, ["-vv", "config", "--preset", "scimma", "--topic", "t", *how])
            assert done.exit_code == 0, done.exception
            assert "hush" not in done.output
    shown = CliRunner(env={"SKIM_KAFKA__CREDENTIALS": "hop"}).invoke(app, ["config", "--preset", "scimma"]).stdout
    assert f'"sasl.password" "***" {home}/.config/hop/auth.toml' in " ".join(shown.split())
    assert "hush" not in repr(login_of(settings("scimma", credentials="hop"), home, {}))
    assert "hush" not in repr(settings(**ME))
