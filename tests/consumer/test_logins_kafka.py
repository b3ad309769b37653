"""Each way in of the presets, and each wrong one, on a real Kafka: a table of what `skim doctor` finds."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from brokers.server import Unavailable
from skimstream.consumer.config import ConfigError, load_settings
from skimstream.consumer.doctor.brokers import brokers
from skimstream.consumer.preset import NAMES, preset_of
from skimstream.consumer.run import group_options, kafka_options
from skimstream.consumer.source import Source
from stage.authority import Authority
from stage.guarded import Guarded
from stage.issuer import Issuer

pytestmark = pytest.mark.nightly

RIGHT = "right"
USERS = {name: "babamul-wire" if name == "babamul" else "wire" for name in NAMES}


class Stage(NamedTuple):
    kafka: Guarded
    issuer: Issuer
    names: Mapping[str, str]  # what `{…}` in the tables stands for


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Users `wire` and `babamul-wire` may read `alerts` in groups that begin with their name and a hyphen."""
    own, strange, tokens = (tmp_path_factory.mktemp(name) for name in ("own", "strange", "tokens"))
    authority = Authority(own)
    with Issuer(tokens, authority) as issuer:
        issuer.clients["wire"] = RIGHT
        kafka = Guarded(authority, issuer, {"wire": RIGHT})
        try:
            kafka.start()
            for topic in ("alerts", "secret"):
                kafka.create_topic(topic, 1)
            for user in sorted(set(USERS.values())):
                kafka.add_user(user, RIGHT)
                kafka.allow(user, "alerts", f"{user}-")
            producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
            producer.produce("alerts", b"{}")
            assert producer.flush(20) == 0
            junk = own / "junk.pem"
            junk.write_text("no certificate")
            names = {
                **kafka.doors,
                "open": kafka.bootstrap,
                "ca": str(authority.ca),
                "other": str(Authority(strange, "Other").ca),
                "junk": str(junk),
                "issuer": issuer.url,
            }
            yield Stage(kafka, issuer, names)
        except Unavailable as reason:
            pytest.skip(str(reason))
        finally:
            kafka.close()


MODES: dict[str, tuple[str, dict[str, str]]] = {  # the door, and what a user has to add to the preset
    "ztf": ("{open}", {}),
    "ztf-archive": ("{open}", {}),
    "fink-ztf": ("{open}", {}),
    "fink-lsst": ("{open}", {}),
    "lasair": ("{open}", {}),
    "rubin": ("{scram}", {}),
    "babamul": ("{scram}", {}),
    "scimma": ("{scrams}", {"ssl.ca.location": "{ca}"}),
    "antares": ("{plains}", {"ssl.ca.location": "{ca}"}),
    "gcn": (
        "{tokens}",
        {
            "ssl.ca.location": "{ca}",
            "https.ca.location": "{ca}",
            "sasl.oauthbearer.token.endpoint.url": "{issuer}",
        },
    ),
}


def settings_of(stage: Stage, preset: str, **changes: Any) -> Any:
    """Changes by name: `at`, `topic`, `group`, `user`, `password`; `set`: librdkafka's options, None is without."""
    door, own = MODES[preset]
    login = {} if door == "{open}" else {"user": USERS[preset], "password": RIGHT}
    kafka: dict[str, Any] = {"group": f"{USERS[preset]}-night", **login}
    kafka |= {key: changes[key] for key in ("group", "user", "password") if key in changes}
    options = {key: str(one).format(**stage.names) for key, one in {**own, **changes.get("set", {})}.items() if one}
    kafka |= {"bootstrap": changes.get("at", door).format(**stage.names), "options": options}
    topic = changes.get("topic", "alerts")
    # Streams of one's own are named in settings; what they read from a message is no matter here.
    stream = {"stream": "behaviour"} if "stream" in preset_of(preset).required else {}
    return load_settings(None, {"preset": preset, "topic": topic, "kafka": kafka, **stream})


def found(stage: Stage, preset: str, **changes: Any) -> dict[str, list[str]]:
    settings = settings_of(stage, preset, **changes)
    names: dict[str, list[str]] = {}
    for one in brokers(settings, settings.topics):
        print(preset, one)
        names.setdefault(one.check, []).append(one.id)
        assert one.id == "ok" or one.do
    return names


@pytest.mark.parametrize("preset", NAMES)
def test_the_right_login_gets_in_and_reads(stage: Stage, preset: str) -> None:
    assert found(stage, preset) == {
        "kafka": ["ok"],
        "topic": ["ok"],
        "group": ["ok"],
        "dead-letters": ["dead-letters-missing"],
    }
    settings = settings_of(stage, preset)
    options = {**kafka_options(settings), **group_options(settings)}
    with Source("alerts", options, "earliest", lambda partition, lost: None) as source:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for address in sorted(source.waiting):
                source.open(address, source.range(address)[0])
            if read := source.batches(10, 0.2):
                assert [batch.values for batch in read] == [[b"{}"]]
                return
    pytest.fail("nothing was read")


LOGINS = ("rubin", "babamul", "scimma", "antares", "gcn")
TLS = ("scimma", "antares", "gcn")
UNKNOWN = "nobody.invalid:9092"

# What is wrong, for which presets; what is found, and of what check.
WRONG: list[tuple[str, tuple[str, ...], dict[str, Any], str, str]] = [
    ("password", ("rubin", "babamul", "scimma", "antares"), {"password": "wrong"}, "kafka", "kafka-password"),
    # Brokers don't tell which of both it is.
    ("user", ("rubin", "scimma", "antares"), {"user": "wired", "group": "wired-night"}, "kafka", "kafka-password"),
    ("secret", ("gcn",), {"password": "wrong"}, "kafka", "kafka-token"),
    ("client", ("gcn",), {"user": "wired"}, "kafka", "kafka-token"),
    ("topic-acl", LOGINS, {"topic": "secret"}, "topic", "kafka-topic-acl"),
    ("topic", (*LOGINS, "ztf", "lasair"), {"topic": "alerts-not"}, "topic", "kafka-topic"),
    ("tls-unwanted", LOGINS, {"at": "{open}", "set": {"security.protocol": "SASL_SSL"}}, "kafka", "kafka-tls-unwanted"),
    (
        "tls-missing",
        LOGINS,
        {"at": "{scrams}", "set": {"security.protocol": "SASL_PLAINTEXT"}},
        "kafka",
        "kafka-tls-missing",
    ),
    ("tls-missing-open", ("ztf", "fink-ztf"), {"at": "{tls}"}, "kafka", "kafka-tls-missing"),
    ("no-login", ("ztf", "lasair"), {"at": "{scram}"}, "kafka", "kafka-login-missing"),
    ("no-login-tls", TLS, {"set": {"security.protocol": "SSL"}}, "kafka", "kafka-login-missing"),
    ("ca", TLS, {"set": {"ssl.ca.location": "{other}"}}, "kafka", "kafka-certificate"),
    ("no-ca", ("scimma", "gcn"), {"set": {"ssl.ca.location": None}}, "kafka", "kafka-certificate"),
    ("no-ca-given", ("antares",), {"set": {"ssl.ca.location": None}}, "kafka", "preset-required"),
    ("ca-gone", TLS, {"set": {"ssl.ca.location": "{ca}.gone"}}, "kafka", "kafka-options"),
    ("ca-junk", TLS, {"set": {"ssl.ca.location": "{junk}"}}, "kafka", "kafka-options"),
    (
        "host-name",
        ("antares",),
        {"set": {"ssl.endpoint.identification.algorithm": "https"}},
        "kafka",
        "kafka-certificate",
    ),
    ("mechanism", ("rubin", "babamul", "scimma"), {"set": {"sasl.mechanism": "PLAIN"}}, "kafka", "kafka-mechanism"),
    ("mechanism", ("antares", "gcn"), {"set": {"sasl.mechanism": "SCRAM-SHA-512"}}, "kafka", "kafka-mechanism"),
    ("token-for-scram", ("gcn",), {"at": "{scrams}"}, "kafka", "kafka-mechanism"),
    ("unreachable", NAMES, {"at": "127.0.0.1:1"}, "kafka", "kafka-unreachable"),
    ("name", NAMES, {"at": UNKNOWN}, "kafka", "kafka-name"),
    (
        "issuer-gone",
        ("gcn",),
        {"set": {"sasl.oauthbearer.token.endpoint.url": "https://127.0.0.1:1/token"}},
        "kafka",
        "kafka-token-endpoint",
    ),
    (
        "issuer-name",
        ("gcn",),
        {"set": {"sasl.oauthbearer.token.endpoint.url": "https://nobody.invalid/token"}},
        "kafka",
        "kafka-token-endpoint",
    ),
    ("issuer-ca", ("gcn",), {"set": {"https.ca.location": "{other}"}}, "kafka", "kafka-token-certificate"),
    ("issuer-no-ca", ("gcn",), {"set": {"https.ca.location": None}}, "kafka", "kafka-token-certificate"),
]


@pytest.mark.parametrize(
    ("preset", "changes", "check", "name"),
    [
        pytest.param(preset, changes, check, name, id=f"{preset}-{what}")
        for what, presets, changes, check, name in WRONG
        for preset in presets
    ],
)
def test_each_wrong_one_says_what_is_wrong(
    stage: Stage, preset: str, changes: dict[str, Any], check: str, name: str
) -> None:
    assert found(stage, preset, **changes)[check] == [name]


@pytest.mark.parametrize("preset", LOGINS)
def test_a_group_of_others(stage: Stage, preset: str) -> None:
    """The user's name and no hyphen: the preset can't know that it isn't allowed."""
    names = found(stage, preset, group=f"{USERS[preset]}vil")
    assert (names["topic"], names["group"]) == (["ok"], ["kafka-group-acl"])


@pytest.mark.parametrize("preset", ["rubin", "babamul"])
def test_a_group_that_cannot_be_right_is_told_before_any_broker_is_asked(stage: Stage, preset: str) -> None:
    with pytest.raises(ConfigError, match="begin with the user name"):
        settings_of(stage, preset, group="night")


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({"forged": True}, "kafka-token-refused"),
        ({"life": -60.0}, "kafka-token-expired"),
        ({"refuses": 400}, "kafka-token"),
        ({"refuses": 503}, "kafka-token-endpoint"),
    ],
)
def test_tokens_that_do_not_let_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, state: Mapping[str, Any], name: str
) -> None:
    for key, value in state.items():
        monkeypatch.setattr(stage.issuer, key, value)
    assert found(stage, "gcn") == {"kafka": [name]}
