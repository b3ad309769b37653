"""Files of certificates that librdkafka is given: which to trust where nobody has said, and which can't be read."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_AUTHORITIES = ("ssl.ca.location", "https.ca.location")
_OTHERS = ("ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location")


def usual_trust(options: Mapping[str, Any], known: str | None = None) -> dict[str, str]:
    """The system's certificate authorities, for the endpoint that gives tokens, unless `options` name some.

    The libcurl in confluent-kafka's wheel looks for them only where one family of Linux keeps them; elsewhere no token
    can be had, and "probe" or a folder don't help. `known` is their file; else that of Python's ssl.

    >>> usual_trust({"sasl.oauthbearer.method": "oidc"}, "/etc/ssl/cert.pem")
    {'https.ca.location': '/etc/ssl/cert.pem'}
    """
    asks = str(options.get("sasl.oauthbearer.method", "")).lower() == "oidc"
    if not asks or "https.ca.location" in options or "https.ca.pem" in options:
        return {}
    file = known or ssl.get_default_verify_paths().cafile
    return {"https.ca.location": file} if file else {}


def unreadable(options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with each file that can't be used.

    librdkafka says so itself, but with tokens (OIDC) it ends the process instead (2.16: a failed assertion).
    """
    for name in (*_AUTHORITIES, *_OTHERS):
        file = str(options.get(name, ""))
        if not file or (name in _AUTHORITIES and file == "probe") or Path(file).is_dir():
            continue
        try:
            with Path(file).open("rb"):
                pass
            if name in _AUTHORITIES:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:
            why = "no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
            yield f'"{name}" in [kafka.options]: {file} can\'t be used ({why})'
