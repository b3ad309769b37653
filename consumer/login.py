"""Who we are to the brokers: the login of the settings or of a stream's own client, and what a preset asks of both."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..schemas.errors import SkimError
from . import client_files
from .client_files import CredentialsError, Kept
from .preset import Preset, preset_of
from .trust import unreadable

if TYPE_CHECKING:
    from .config import Settings

USER = "{user}"  # in a group's name: the user's
SCRAM_OR_PLAIN = ("sasl.username", "sasl.password")
OIDC = ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret")


class Lack(NamedTuple):
    """What is missing or wrong, by a short name (docs/operations.md has them), and what to do."""

    id: str
    says: str


class NotReady(SkimError):
    """A preset wants something that isn't there: `lacks`."""

    def __init__(self, lacks: list[Lack]) -> None:
        super().__init__("\n  ".join(one.says for one in lacks))
        self.lacks = lacks


@dataclass(frozen=True, slots=True)
class Login:
    """librdkafka's `options` of the connection, and the consumer `group`.

    `user` is the user's name, or a client's id. `origins`: of the options that a client's own place gave, which it is.
    """

    user: str
    group: str
    options: Mapping[str, Any] = field(repr=False)
    origins: Mapping[str, str]


def login_of(settings: "Settings", home: Path | None = None, environment: Mapping[str, str] = os.environ) -> Login:
    """The login: a preset's options < those that a client keeps < kafka.user and kafka.password < kafka.options.

    Raises `CredentialsError` where a file can't be read, or mustn't be.
    """
    kafka, brought = settings.kafka, settings.brought

    def asked(name: str) -> bool:
        return name in kafka.model_fields_set and ("kafka", name) not in brought

    kept = _kept(settings, home or Path.home(), environment)
    usual = {name: value for name, value in kafka.options.items() if ("kafka", "options", name) in brought}
    own = {name: value for name, value in kafka.options.items() if name not in usual}
    names = _names({**usual, **kept.options, **own})
    found = {**kept.options, **_given(names, kept.user, kept.password)}
    if kept.bootstrap and not asked("bootstrap"):
        found["bootstrap.servers"] = kept.bootstrap
    said = _given(names, kafka.user, secret_of(settings))
    options: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, **usual, **found, **said, **own}
    origins = dict.fromkeys(found.keys() - said.keys() - own.keys(), kept.where)
    user, group = str(options.get(names[0], "")), kafka.group
    if kept.group and not asked("group"):
        group, origins["group.id"] = kept.group, kept.where
    return Login(user, str(own.get("group.id", group.replace(USER, user or USER))), options, origins)


def secret_of(settings: "Settings") -> str:
    """kafka.password, or what kafka.password_file holds."""
    kafka = settings.kafka
    if (said := kafka.password.get_secret_value()) or kafka.password_file is None:
        return said
    try:
        return kafka.password_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CredentialsError(f"kafka.password_file: {kafka.password_file} can't be read ({why})") from error


def require(settings: "Settings", stream: bool = True) -> None:
    """See that all is there that the preset needs; without `stream`, to connect only. Raises `NotReady`."""
    try:
        login = login_of(settings)
    except CredentialsError as error:
        raise NotReady([Lack("credentials", str(error))]) from error
    wrong = [Lack("kafka-options", says) for says in unreadable(login.options)]
    if found := [*wrong, *lacking(settings, login, stream)]:
        raise NotReady(found)


def lacking(settings: "Settings", login: Login, stream: bool = True) -> list[Lack]:
    """What the preset needs beside its own settings, and isn't there."""
    if not settings.preset:
        return []
    preset = preset_of(settings.preset)
    found = [
        Lack("preset-required", f"preset {preset.name} needs {key}: {what}")
        for key, what in preset.required.items()
        if (stream or key.startswith("kafka.")) and not _there(settings, login, key)
    ]
    found += _login_lacking(preset, login)
    if (problem := group_problem(preset, login.user, login.group)) is not None:
        found.append(Lack("group-name", problem))
    return found


def unwritable(settings: "Settings") -> str | None:
    """A warning if what the worker writes would go to brokers that take nothing."""
    if not settings.preset or settings.outgoing.bootstrap:
        return None
    if "kafka.bootstrap" not in preset_of(settings.preset).required and ("kafka", "bootstrap") not in settings.brought:
        return None  # brokers of one's own
    return (
        f"{settings.preset} is read only: set outgoing.bootstrap (SKIM_OUTGOING__BOOTSTRAP) to a Kafka of yours, for "
        "dead letters and alerts; without it the first message that can't be read ends the worker"
    )


def group_problem(preset: Preset, user: str, group: str) -> str | None:
    """Why the brokers will refuse the group; None if they won't, or if it can't be known.

    >>> group_problem(preset_of("babamul"), "babamul-x", "night")
    "babamul wants groups that begin with the user name: kafka.group is 'night'; write '{user}-night'"
    """
    if preset.group != "user" or not user or group.startswith((user, USER)):
        return None
    return f"{preset.name} wants groups that begin with the user name: kafka.group is {group!r}; write '{USER}-{group}'"


def _login_lacking(preset: Preset, login: Login) -> list[Lack]:
    options = login.options
    if not preset.login or "SASL" not in str(options.get("security.protocol", "")).upper():
        return []  # or no login any more: the brokers may be others than the preset's
    names = _names(options)
    if not all(options.get(name) for name in names):
        what = "client id and secret" if names == OIDC else "user name and password"
        place = f', or let kafka.credentials = "{preset.place}" find them' if preset.place else ""
        says = (
            f"preset {preset.name} needs a {what}: set SKIM_KAFKA__USER and SKIM_KAFKA__PASSWORD (in a file kafka.user "
            f"and kafka.password or password_file){place}; `skim presets {preset.name}` says where to get them"
        )
        return [Lack("preset-login", says)]
    if not login.user.startswith(preset.user_begins):
        begins = f"user names of {preset.name} begin with {preset.user_begins}, and kafka.user doesn't"
        return [Lack("preset-login", f"{begins}: an e-mail address isn't one (`skim presets {preset.name}`)")]
    return []


def _there(settings: "Settings", login: Login, key: str) -> bool:
    if key == "stream":
        return settings.definition is not None or "stream" in settings.model_fields_set
    if key == "topic":
        return bool(settings.topic)
    if key == "kafka.bootstrap":
        named = "bootstrap" in settings.kafka.model_fields_set or "bootstrap.servers" in settings.kafka.options
        return named or "bootstrap.servers" in login.origins
    return bool(login.options.get(key.removeprefix("kafka.options.")))


def _names(options: Mapping[str, Any]) -> tuple[str, str]:
    """librdkafka's options of the two halves of a login."""
    mechanism = str(options.get("sasl.mechanism", options.get("sasl.mechanisms", "")))
    return OIDC if mechanism.upper() == "OAUTHBEARER" else SCRAM_OR_PLAIN


def _given(names: tuple[str, str], user: str, secret: str) -> dict[str, str]:
    return {name: value for name, value in zip(names, (user, secret), strict=True) if value}


def _kept(settings: "Settings", home: Path, environment: Mapping[str, str]) -> Kept:
    kafka = settings.kafka
    if kafka.credentials == "hop":
        return client_files.hop(kafka.bootstrap, kafka.user, home, environment)
    if kafka.credentials == "fink":
        return client_files.fink("lsst" if "lsst" in (settings.preset or settings.stream) else "ztf", home)
    if kafka.credentials == "babamul":
        return client_files.babamul(environment)
    if kafka.credentials == "gcn":
        return client_files.gcn(environment)
    return Kept("settings")
