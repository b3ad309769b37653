"""What librdkafka's errors mean to a person, and what to do: one table, one row an error.

The same error has many texts, and one code many causes, so a row is found by the code's name and a part of the text.
librdkafka: https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_broker.c, …/src/rdkafka_transport.c
"""

import re
from typing import NamedTuple


class Trouble(NamedTuple):
    """Why brokers can't be used, with a short stable name (docs/operations.md has them all)."""

    id: str
    means: str
    do: str


class _Row(NamedTuple):
    names: tuple[str, ...]  # of codes; none: any
    text: str  # a pattern that is part of what librdkafka says
    trouble: Trouble


_OAUTH = Trouble(
    "kafka-token",
    "the issuer of tokens gives this client none (OAUTHBEARER)",
    'see kafka.user and kafka.password (client id and secret), "sasl.oauthbearer.scope", and what the issuer says',
)
TOKEN_ENDPOINT = Trouble(
    "kafka-token-endpoint",
    "the issuer of tokens can't be reached, or doesn't answer (OAUTHBEARER)",
    'see "sasl.oauthbearer.token.endpoint.url" in [kafka.options], that it runs, and what lies in between',
)
_ISSUING = r"(OAUTHBEARER|OIDC) token.*"
_MECHANISM = Trouble(
    "kafka-mechanism",
    "the brokers don't offer this way to log in",
    'set "sasl.mechanism" in [kafka.options] to one that they name: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER',
)
_PASSWORD = Trouble(
    "kafka-password",
    "the brokers refuse the user name or the password",
    'see "sasl.username", "sasl.password" and "sasl.mechanism" in [kafka.options]',
)

# The first row that fits.
_ROWS = (
    _Row(
        ("_RESOLVE",),
        "",
        Trouble(
            "kafka-name",
            "no such host is known here",
            "correct kafka.bootstrap (host:port, …); see that the name is known where skim runs, in a container too",
        ),
    ),
    _Row(
        (),
        _ISSUING + "unexpired",
        Trouble(
            "kafka-token-expired",
            "the token had expired when it came (OAUTHBEARER)",
            "set this machine's clock (NTP); else the issuer's is wrong, or its tokens live for no time",
        ),
    ),
    _Row(
        (),
        _ISSUING + "([Cc]ertificate|trust anchors)",
        Trouble(
            "kafka-token-certificate",
            "the certificate of who issues the tokens can't be trusted (OAUTHBEARER)",
            'set "https.ca.location" in [kafka.options] to a file of the CAs to trust (ssl.ca.location: the brokers\')',
        ),
    ),
    _Row(
        (),
        _ISSUING + "(resolve host|onnect|timed out|Timeout|Recv failure|Send failure|SSL|mpty reply)",
        TOKEN_ENDPOINT,
    ),
    _Row(
        ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", ""),
        "invalid_token",
        Trouble(
            "kafka-token-refused",
            "the brokers refuse the token (OAUTHBEARER)",
            "see that the token endpoint is the issuer that the brokers trust; see scope, audience, clocks",
        ),
    ),
    _Row((), "[Uu]nsupported SASL mechanism|not supported by broker|UNSUPPORTED_SASL_MECHANISM", _MECHANISM),
    _Row(("UNSUPPORTED_SASL_MECHANISM",), "", _MECHANISM),
    _Row(
        ("_INVALID_ARG", "_CONFLICT"),
        "",
        Trouble(
            "kafka-options",
            "librdkafka doesn't take these options",
            "mend [kafka.options]; `skim config` shows all of them, and where each came from",
        ),
    ),
    _Row(
        (),
        r"connecting to a SSL listener|SSL-enabled listener",
        Trouble(
            "kafka-tls-missing",
            "the brokers speak TLS there, and we don't",
            'set "security.protocol" in [kafka.options] to "SSL", or "SASL_SSL" if one logs in; or use another port',
        ),
    ),
    _Row(
        (),
        r"PLAINTEXT broker listener|wrong version number",
        Trouble(
            "kafka-tls-unwanted",
            "we speak TLS, and the brokers don't there",
            'use their TLS port; or set "security.protocol" to "PLAINTEXT", or "SASL_PLAINTEXT" if one logs in',
        ),
    ),
    _Row(
        (),
        r"certificate required|bad certificate|unknown ca\b|alert certificate",
        Trouble(
            "kafka-client-certificate",
            "the brokers want a certificate of ours, or don't accept it",
            'set "ssl.certificate.location" and "ssl.key.location" in [kafka.options] to what their owner gave you',
        ),
    ),
    _Row(
        (),
        r"certificate verify failed|could not be verified|certificate has expired|hostname mismatch",
        Trouble(
            "kafka-certificate",
            "the brokers' certificate isn't one to be trusted, or is of another host",
            'set "ssl.ca.location" to the CA file of their owner; in kafka.bootstrap give a name of the certificate',
        ),
    ),
    _Row(
        (),
        "not valid in current SASL state|handshake failed: Local: Broker transport",
        Trouble(
            "kafka-login-again",
            "a login that brokers ask for anew now and then was broken off",
            "nothing: a new connection is made; if it comes again and again, tokens live for too short a time",
        ),
    ),
    _Row((), r"(OAUTHBEARER|OIDC) token|token_refresh|oauthbearer", _OAUTH),
    _Row(("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED"), "", _PASSWORD),
    _Row((), "SASL authentication error", _PASSWORD),
    _Row(
        (),
        "might require SASL",
        Trouble(
            "kafka-login-missing",
            "the brokers hang up on who doesn't log in",
            'set "security.protocol" to "SASL_SSL" (or "SASL_PLAINTEXT"), and sasl.mechanism, .username, .password',
        ),
    ),
    _Row(
        ("TOPIC_AUTHORIZATION_FAILED",),
        "",
        Trouble(
            "kafka-topic-acl",
            "this user may not read the topic",
            "correct the topic's name, or ask for the ACLs Read and Describe on it",
        ),
    ),
    _Row(
        ("GROUP_AUTHORIZATION_FAILED",),
        "",
        Trouble(
            "kafka-group-acl",
            "this user may not use the consumer group",
            "set kafka.group to one that you were given (often it starts with the user name), or ask for the ACL Read",
        ),
    ),
    _Row(
        ("CLUSTER_AUTHORIZATION_FAILED", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
        "",
        Trouble("kafka-acl", "this user may not do that on the cluster", "ask for the ACL that the error names"),
    ),
    _Row(
        ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"),
        "",
        Trouble(
            "kafka-topic",
            "the topic is not there",
            "correct its name, create it, or wait for it as a worker does; some brokers say so of what one may not see",
        ),
    ),
    _Row(
        (),
        r"refused|No route|unreachable|setup timed out|Operation timed out|Host is down",
        Trouble(
            "kafka-unreachable",
            "nothing listens there, or a firewall is in between",
            "see that the brokers run, and that kafka.bootstrap has their host and port as seen from here",
        ),
    ),
)

#: What a worker's metric calls errors (a closed set): no broker answers, nobody lets us in, anything else.
COMPLAINTS = ("down", "authentication", "other")
_COMPLAINTS = {
    "_ALL_BROKERS_DOWN": "down",
    "_AUTHENTICATION": "authentication",
    "SASL_AUTHENTICATION_FAILED": "authentication",
}

#: When they can be reached and say nothing, or hang up without a word that fits.
SILENT = Trouble(
    "kafka-silent",
    "something accepts the connection, but doesn't answer as a broker does",
    "see that the port is Kafka's, that the brokers are well, and what lies in between",
)
TROUBLES = (*dict.fromkeys(row.trouble for row in _ROWS), SILENT)


def translated(name: str, text: str) -> Trouble | None:
    """What an error means, from its code's name and its text; None where the table doesn't know it.

    >>> translated("_TRANSPORT", "kafka:9092/bootstrap: Connect to ipv4#10.0.0.7:9092 failed: Connection refused").id
    'kafka-unreachable'
    """
    for row in _ROWS:
        if (not row.names or name in row.names) and re.search(row.text, text):
            return row.trouble
    return None


def complaint(name: str) -> str:
    """Which of `COMPLAINTS` an error is, by its code's name.

    >>> complaint("_AUTHENTICATION"), complaint("_TRANSPORT")
    ('authentication', 'other')
    """
    return _COMPLAINTS.get(name, "other")
