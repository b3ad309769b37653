"""Certificates: whom to trust for tokens where nobody said; files that can't be used are told beforehand."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skimstream.consumer.config import Settings, load_settings
from skimstream.consumer.doctor.brokers import brokers
from skimstream.consumer.login import NotReady, require
from skimstream.consumer.run import kafka_options, outgoing_options
from skimstream.consumer.topics import Single
from skimstream.consumer.trust import unreadable, usual_trust
from stage.tlsport import certificate

OIDC = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "me",
    "sasl.oauthbearer.client.secret": "hush",
    "sasl.oauthbearer.token.endpoint.url": "https://127.0.0.1:1/token",
}


def settings(**options: Any) -> Settings:
    return load_settings(None, {"kafka": {"bootstrap": "127.0.0.1:1", "options": {**OIDC, **options}}})


def test_tokens_are_asked_for_with_the_systems_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = certificate(tmp_path, "ca.example")[1]
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # as OpenSSL's own users name it
    assert kafka_options(settings())["https.ca.location"] == str(file)
    assert kafka_options(settings(**{"https.ca.location": "probe"}))["https.ca.location"] == "probe"
    assert "https.ca.location" not in kafka_options(settings(**{"https.ca.pem": "…"}))
    assert "https.ca.location" not in kafka_options(load_settings(None, {}))
    out = load_settings(None, {"outgoing": {"bootstrap": "a:1", "options": OIDC}})
    assert outgoing_options(out)["https.ca.location"] == str(file)


def test_without_any_authority_there_is_nothing_to_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert usual_trust(OIDC) == {}


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    good, junk, gone = certificate(tmp_path, "ca.example")[1], tmp_path / "junk.pem", tmp_path / "gone.pem"
    junk.write_text("nothing")
    assert list(unreadable({"ssl.ca.location": good, "https.ca.location": tmp_path, "ssl.key.location": good})) == []
    assert list(unreadable({"ssl.ca.location": "probe", "https.ca.location": ""})) == []
    (said,) = unreadable({"https.ca.location": junk})
    assert said == f'"https.ca.location" in [kafka.options]: {junk} can\'t be used (no certificates in PEM)'
    found = list(unreadable({"ssl.ca.location": gone, "ssl.key.location": gone}))
    assert all("No such file" in one for one in found)
    assert len(found) == 2


def test_they_are_told_as_what_is_wrong_with_the_settings(tmp_path: Path) -> None:
    wrong = settings(**{"ssl.ca.location": str(tmp_path / "gone.pem")})
    with pytest.raises(NotReady, match=r"gone\.pem can't be used"):
        require(wrong)
    (found,) = brokers(wrong, Single("alerts"))
    assert (found.id, "gone.pem" in found.says) == ("kafka-options", True)


@pytest.mark.nightly
def test_why_it_is_told_before_librdkafka_sees_them(tmp_path: Path) -> None:
    """If this fails, librdkafka has mended it, and `unreadable` is no longer needed for that."""
    options = {**OIDC, "group.id": "g", "bootstrap.servers": "127.0.0.1:1", "ssl.ca.location": str(tmp_path / "gone")}
    code = f"""if True:
        import confluent_kafka, resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        confluent_kafka.Consumer({options!r})"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, "assert" in done.stderr) == (-6, True)
