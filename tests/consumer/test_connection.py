"""What librdkafka says, as it says it, and what it means."""

import pytest
from confluent_kafka import KafkaError

from skimstream.consumer.connection import COMPLAINTS, TROUBLES, translated
from skimstream.consumer.run import BrokerLog

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
    # From here on as they were seen on a real Kafka 4.1 (test_logins_kafka).
    (
        "_AUTHENTICATION",
        "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or password "
        "(after 302ms in state AUTH_REQ)",
        "kafka-password",
    ),
    (
        "_TRANSPORT",
        "sasl_ssl://a:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a "
        "PLAINTEXT broker listener? (after 11ms in state SSL_HANDSHAKE)",
        "kafka-tls-unwanted",
    ),
    (
        "_AUTHENTICATION",
        "sasl_ssl://a:1/bootstrap: SASL OAUTHBEARER mechanism handshake failed: Broker: Unsupported SASL mechanism: "
        "broker's supported mechanisms: SCRAM-SHA-512 (after 303ms in state AUTH_HANDSHAKE)",
        "kafka-mechanism",
    ),
    (
        "GROUP_AUTHORIZATION_FAILED",
        "FindCoordinator response error: Group authorization failed.",
        "kafka-group-acl",
    ),
    (
        "_INVALID_ARG",
        "Failed to create consumer: ssl.ca.location failed: error:05880020:x509 certificate routines::BIO lib",
        "kafka-options",
    ),
    (
        "_AUTHENTICATION",
        'Failed to acquire SASL OAUTHBEARER token: {"error": "invalid_client", "error_description": "no such client"}',
        "kafka-token",
    ),
    (
        "_AUTHENTICATION",
        "Failed to acquire SASL OAUTHBEARER token: Must supply an unexpired token: now=1795423758853ms, "
        "exp=1795423698000ms",
        "kafka-token-expired",
    ),
    (
        "_AUTHENTICATION",
        'sasl_ssl://a:1/bootstrap: SASL authentication error: {"status":"invalid_token"} (after 9ms in state AUTH_REQ)',
        "kafka-token-refused",
    ),
    *(
        ("_AUTHENTICATION", f"Failed to acquire SASL OAUTHBEARER token: {text}", f"kafka-token-{means}")
        for text, means in (
            ("Failed to connect to 127.0.0.1:1 after 0 ms: Could not connect to server", "endpoint"),
            ("Could not resolve host: nobody.invalid", "endpoint"),
            ("Recv failure: Connection reset by peer", "endpoint"),
            ("OpenSSL SSL_read: OpenSSL/3.5.8: error:0A000126:SSL routines::unexpected eof", "endpoint"),
            ("error adding trust anchors from file: /etc/pki/tls/certs/ca-bundle.crt", "certificate"),
            (
                "SSL certificate OpenSSL verify result: self-signed certificate in certificate chain (19)",
                "certificate",
            ),
        )
    ),
    (
        "_AUTHENTICATION",
        "GroupCoordinator: a:1: SASL OAUTHBEARER mechanism handshake failed: Broker: Request not valid in current SASL "
        "state: broker's supported mechanisms:  (after 2ms in state AUTH_HANDSHAKE)",
        "kafka-login-again",
    ),
    (
        "_AUTHENTICATION",
        "GroupCoordinator: a:1: SASL OAUTHBEARER mechanism handshake failed: Local: Broker transport failure: broker's "
        "supported mechanisms: (n/a) (after 0ms in state DOWN)",
        "kafka-login-again",
    ),
    # What is only logged has no code.
    ("", 'Failed to retrieve OIDC token from "https://a:1/t": {"error": "invalid_client"} (401)', "kafka-token"),
    ("", 'Failed to retrieve OIDC token from "https://a:1/t": Could not resolve host: a (-1)', "kafka-token-endpoint"),
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


def test_a_workers_metric_tells_a_refusal_from_an_outage() -> None:
    told: list[str] = []
    log = BrokerLog(told.append)
    for code in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._TRANSPORT):  # noqa: SLF001
        log(KafkaError(code, "as it may be"))
    log(KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED, "as it may be"))
    assert told == ["down", "authentication", "other", "authentication"]
    assert set(told) == set(COMPLAINTS)


def test_a_workers_log_says_what_it_means_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    log = BrokerLog()
    log(KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error: no"))  # noqa: SLF001
    log(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))  # noqa: SLF001
    first, second = (vars(record) for record in caplog.records)
    assert first["error"] == "_AUTHENTICATION"
    assert "password" in first["means"]
    assert "sasl.password" in first["do"]
    assert "means" not in second
