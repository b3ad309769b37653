"""What a real Kafka says to who comes with the wrong protocol, password, mechanism, certificate, or without rights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers.kafka import Kafka
from brokers.server import Unavailable, free_port
from skimstream.consumer.config import load_settings
from skimstream.consumer.doctor.brokers import brokers
from skimstream.consumer.topics import Single
from stage.tlsport import certificate

pytestmark = pytest.mark.nightly

SASL, TLS, MUTUAL = free_port(), free_port(), free_port()
LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="right" user_bob="right";'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def kafka(folder: Path) -> Iterator[Kafka]:
    """A broker with ports for those who log in, for TLS, and for TLS with certificates; bob may do nothing."""
    key, signed = certificate(folder, "127.0.0.1")
    chain = folder / "both.pem"
    chain.write_text(key.read_text() + signed.read_text())
    server = Kafka()
    plain, here = server._properties(), "127.0.0.1"  # noqa: SLF001
    more = f"SASLED://{here}:{SASL},TLS://{here}:{TLS},MUTUAL://{here}:{MUTUAL}"
    keystore = {
        f"listener.name.{name}.ssl.{key}": value
        for name in ("tls", "mutual")
        for key, value in {"keystore.type": "PEM", "keystore.location": chain}.items()
    }
    server.config |= {
        **{name: f"{plain[name]},{more}" for name in ("listeners", "advertised.listeners")},
        "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SASLED:SASL_PLAINTEXT,"
        "TLS:SSL,MUTUAL:SSL",
        "listener.name.sasled.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasled.plain.sasl.jaas.config": LOGIN,
        **keystore,
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": signed,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:alice;User:CN=127.0.0.1",
    }
    try:
        server.start()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        for topic in ("alerts", "alerts.dlq"):
            server.create_topic(topic)
        yield server
    finally:
        server.close()


def said(port: int, **options: Any) -> dict[str, list[str]]:
    given = {"bootstrap": f"127.0.0.1:{port}", "options": {key.replace("_", "."): one for key, one in options.items()}}
    names: dict[str, list[str]] = {}
    for one in brokers(load_settings(None, {"stream": "behaviour", "kafka": given}), Single("alerts")):
        names.setdefault(one.check, []).append(one.id)
        print(one)
    return names


def login(user: str, password: str = "right", mechanism: str = "PLAIN") -> dict[str, str]:  # noqa: S107
    user_and_password = {"sasl_username": user, "sasl_password": password}
    return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism, **user_and_password}


def test_each_way_in_and_each_wrong_one(kafka: Kafka, folder: Path) -> None:
    trusted = {"security_protocol": "SSL", "ssl_ca_location": str(folder / "certificate.pem")}
    well = {"kafka": ["ok"], "topic": ["ok", "topic-empty"], "group": ["ok"], "dead-letters": ["ok"]}
    assert said(kafka.port) == well
    assert said(SASL, **login("alice")) == well
    assert said(TLS, **trusted) == well
    mine = {
        "ssl_certificate_location": str(folder / "certificate.pem"),
        "ssl_key_location": str(folder / "key.pem"),
    }
    assert said(MUTUAL, **trusted, **mine) == well
    assert said(SASL) == {"kafka": ["kafka-login-missing"]}
    assert said(SASL, **login("alice", "wrong")) == {"kafka": ["kafka-password"]}
    assert said(SASL, **login("alice", mechanism="SCRAM-SHA-512")) == {"kafka": ["kafka-mechanism"]}
    assert said(TLS) == {"kafka": ["kafka-tls-missing"]}
    assert said(kafka.port, **trusted) == {"kafka": ["kafka-tls-unwanted"]}
    assert said(TLS, security_protocol="SSL") == {"kafka": ["kafka-certificate"]}
    assert said(MUTUAL, **trusted) == {"kafka": ["kafka-client-certificate"]}


def test_a_user_without_rights(kafka: Kafka) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AclBinding,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    def allow(kind: ResourceType, name: str, *operations: AclOperation) -> None:
        literal, allowed = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
        rights = [AclBinding(kind, name, literal, "User:bob", "*", one, allowed) for one in operations]
        for future in admin.create_acls(rights).values():
            future.result(20)

    admin, bob = kafka.admin(), login("bob")
    assert said(SASL, **bob)["topic"] == ["kafka-topic-acl"]
    allow(ResourceType.TOPIC, "alerts", AclOperation.DESCRIBE)
    allow(ResourceType.TOPIC, "alerts.dlq", AclOperation.DESCRIBE)
    found = said(SASL, **bob)
    assert found["topic"] == ["ok", "topic-empty", "kafka-topic-acl"]
    assert found["group"] == ["kafka-group-acl"]
    assert found["dead-letters"] == ["dead-letters-acl"]
    allow(ResourceType.TOPIC, "alerts", AclOperation.READ)
    allow(ResourceType.TOPIC, "alerts.dlq", AclOperation.WRITE)
    allow(ResourceType.GROUP, "skimstream", AclOperation.READ)
    found = said(SASL, **bob)
    assert (found["topic"], found["group"], found["dead-letters"]) == (["ok", "topic-empty"], ["ok"], ["ok"])
