"""Logins where a stream's own client keeps them: read when `kafka.credentials` asks for it, never by itself.

hop: https://github.com/scimma/hop-client, hop/auth.py. fink: https://github.com/astrolabsoftware/fink-client.
babamul: https://github.com/boom-astro/babamul. gcn: https://github.com/nasa-gcn/gcn-kafka-python, gcn_kafka/env.py.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ..schemas.errors import SkimError

#: Who keeps a login: the settings, or a client.
Keeper = Literal["settings", "hop", "fink", "babamul", "gcn"]
PORT = "9092"
OTHERS = 0o7077  # of a mode: set-uid and the like, and whatever a group or others may


class CredentialsError(SkimError):
    """There is no login where one is asked for, or it mustn't be used."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a client keeps. `options` are librdkafka's; `where` is the file or the variables, for people."""

    where: str
    user: str = ""
    password: str = ""
    bootstrap: str = ""
    group: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Kept({self.where}, {self.user})"


def hop(bootstrap: str, user: str, home: Path, environment: Mapping[str, str]) -> Kept:
    """The entry of hop's `auth.toml` that is for this host (and this user, if one is named).

    As hop does: an entry without a host is for any that no other is for, and a file that others may read is refused.
    """
    folder = environment.get("XDG_CONFIG_HOME")
    file = (Path(folder) if folder else home / ".config") / "hop" / "auth.toml"
    text = _text(file, "`hop auth add` writes it")
    if file.stat().st_mode & OTHERS:
        raise CredentialsError(f"{file}: others may read it; chmod 600 {file}")
    try:
        entries = tomllib.loads(text).get("auth")
    except tomllib.TOMLDecodeError as error:
        raise CredentialsError(f"{file} is no TOML: {error}") from error
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise CredentialsError(f"{file} has no [[auth]]; `hop auth add` writes one")
    server = bootstrap.split(",")[0].strip()
    mine = [one for one in entries if not user or one.get("username") == user]
    fitting = [one for one in mine if one.get("hostname") and _same(str(one["hostname"]), server)]
    fitting = fitting or [one for one in mine if not one.get("hostname")]
    if len(fitting) != 1:
        many = "more than one entry" if fitting else "no entry"
        hint = ": say which with kafka.user" if fitting else f"; it has {', '.join(_hosts(entries)) or 'none'}"
        raise CredentialsError(f"{file} has {many} for {server}{hint}")
    one = fitting[0]
    token = str(one.get("token_endpoint") or "")
    mechanism = str(one.get("mechanism") or ("OAUTHBEARER" if token else "SCRAM-SHA-512")).replace("_", "-")
    options = {"security.protocol": str(one.get("protocol") or "SASL_SSL"), "sasl.mechanism": mechanism}
    if one.get("ssl_ca_location"):
        options["ssl.ca.location"] = str(one["ssl_ca_location"])
    if mechanism == "OAUTHBEARER":
        options |= {"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.token.endpoint.url": token}
    return Kept(str(file), str(one.get("username") or ""), str(one.get("password") or ""), options=options)


def fink(survey: str, home: Path) -> Kept:
    """What fink-client has written for a survey: servers, group, and a login if there are both halves of one."""
    file = home / ".finkclient" / f"{survey}_credentials.yml"
    try:
        kept: Any = yaml.safe_load(_text(file, "fink-client writes it when you register"))
    except yaml.YAMLError:  # its own text shows what stands there
        raise CredentialsError(f"{file} is no YAML") from None
    if not isinstance(kept, dict) or not kept.get("servers"):
        raise CredentialsError(f"{file} names no servers; register again with fink-client")
    group = str(kept.get("group_id") or kept.get("groupid") or "")  # the latter since version 12
    user, password = str(kept.get("username") or ""), str(kept.get("password") or "")
    if not (user and password):  # open, as its servers are
        return Kept(str(file), bootstrap=str(kept["servers"]), group=group)
    options = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
    return Kept(str(file), user, password, str(kept["servers"]), group, options)


def babamul(environment: Mapping[str, str]) -> Kept:
    """The variables of Babamul's client."""
    user, password, server = (environment.get(f"BABAMUL_KAFKA_{one}", "") for one in ("USERNAME", "PASSWORD", "SERVER"))
    return Kept("BABAMUL_KAFKA_…", user, password, server)


def gcn(environment: Mapping[str, str]) -> Kept:
    """The variables of GCN's client, which are librdkafka's names with KAFKA_ before them."""
    client_id, secret = (environment.get(f"KAFKA_SASL_OAUTHBEARER_CLIENT_{one}", "") for one in ("ID", "SECRET"))
    return Kept("KAFKA_SASL_OAUTHBEARER_…", client_id, secret)


def _text(file: Path, hint: str) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CredentialsError(f"{file} can't be read ({why}); {hint}") from error


def _same(one: str, other: str) -> bool:
    """Whether two names are of one server; without a port they are of Kafka's own."""
    return _with_port(one) == _with_port(other)


def _with_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return f"{name if colon and port.isdigit() else host}:{port if colon and port.isdigit() else PORT}"


def _hosts(entries: list[dict[str, Any]]) -> list[str]:
    return [str(one.get("hostname") or "any host") for one in entries]
