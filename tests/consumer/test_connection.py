"""What librdkafka says, as it says it, and what it means."""

import pytest

from skimstream.consumer.connection import TROUBLES, translated

SAID = [
    ("_RESOLVE", "a:1/bootstrap: Failed to resolve 'a:1': Name or service not known (after 7ms)", "kafka-name"),
    ("_TRANSPORT", "a:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: Connection refused", "kafka-unreachable"),
    ("_TRANSPORT", "a:1/bootstrap: Connection setup timed out in state CONNECT", "kafka-unreachable"),
    ("_INVALID_ARG", 'No such configuration property: "sasl.pasword"', "kafka-options"),
    (
        "_TRANSPORT",
        "a:1/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol "
        "configuration (connecting to a SSL listener?) or broker version is < 0.10",
        "kafka-tls-missing",
    ),
    (
        "_SSL",
        "ssl://a:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
        "kafka-tls-unwanted",
    ),
    (
        "_SSL",
        "ssl://a:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker "
        "certificate could not be verified, verify that ssl.ca.location is correctly configured",
        "kafka-certificate",
    ),
    ("_SSL", "ssl://a:1/1: error:0A00045C:SSL routines::tlsv13 alert certificate required", "kafka-client-certificate"),
    (
        "_AUTHENTICATION",
        "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed during authentication due to "
        "invalid credentials with SASL mechanism SCRAM-SHA-512 (after 312ms in state AUTH_REQ)",
        "kafka-password",
    ),
    (
        "_AUTHENTICATION",
        "sasl_plaintext://a:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: "
        "broker's supported mechanisms: SCRAM-SHA-512",
        "kafka-mechanism",
    ),
    ("UNSUPPORTED_SASL_MECHANISM", "Broker: Unsupported", "kafka-mechanism"),
    ("_AUTHENTICATION", "Failed to acquire SASL OAUTHBEARER token: 401", "kafka-token"),
    (
        "_TRANSPORT",
        "a:1/bootstrap: Disconnected: verify that security.protocol is correctly configured, broker might require SASL "
        "authentication (after 310ms in state UP)",
        "kafka-login-missing",
    ),
    ("TOPIC_AUTHORIZATION_FAILED", "Broker: Topic authorization failed", "kafka-topic-acl"),
    ("GROUP_AUTHORIZATION_FAILED", "Broker: Group authorization failed", "kafka-group-acl"),
    ("CLUSTER_AUTHORIZATION_FAILED", "Broker: Cluster authorization failed", "kafka-acl"),
    ("UNKNOWN_TOPIC_OR_PART", "Broker: Unknown topic or partition", "kafka-topic"),
]


@pytest.mark.parametrize(("name", "text", "means"), SAID)
def test_what_an_error_means(name: str, text: str, means: str) -> None:
    known = translated(name, text)
    assert known is not None
    assert known.id == means


def test_every_row_has_been_met() -> None:
    assert {one.id for one in TROUBLES} == {means for _, _, means in SAID} | {"kafka-silent"}
    assert len({one.id for one in TROUBLES}) == len(TROUBLES)


@pytest.mark.parametrize(("name", "text"), [("_ALL_BROKERS_DOWN", "1/1 brokers are down"), ("_TIMED_OUT", "x")])
def test_what_says_nothing_stays_unknown(name: str, text: str) -> None:
    assert translated(name, text) is None
