"""The settings in force, each with where it came from; secrets masked."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from pydantic_settings import EnvSettingsSource

from .config import Settings
from .own import without_streams
from .preset import preset_of
from .streams.toml_lines import Place, line_of, lines_of

DEFAULT = "default"
MASK = "***"
# Of librdkafka's options and of ours. Certificates are public, their keys are not; the endpoint that gives tokens is.
_SECRET = re.compile(
    r"password|secret|passphrase|private\.key|key\.pem|^ssl[._]key$|oauthbearer\.config|token(?!\.endpoint)"
)
_USERINFO = re.compile(r"(?<=://)([^/@\s]*)@")
# URLs in which only the password is secret; those of webhooks are secret as a whole.
_OPEN_SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `key` as a file has it, `value` with secrets masked (`masked`: it isn't all there).

    `origin`: default, preset NAME, file:line, the name of a variable, a flag.
    """

    key: Place
    value: Any
    origin: str
    masked: bool


class Origins:
    """Where settings came from: flags (place → option), the environment, the file, its definitions, the preset."""

    def __init__(
        self,
        file: Path | None,
        flags: Mapping[Place, str],
        environment: Mapping[str, str] = os.environ,
        preset: str = "",
    ) -> None:
        self.preset = f"preset {preset}"
        self.brought = preset_of(preset).settings if preset else {}
        self.file = file
        self.flags = flags
        self.environment = environment
        text = file.read_text() if file else ""
        self.lines = lines_of(text)
        self.data = tomllib.loads(text)
        self.given = without_streams(self.data)
        self.variables = EnvSettingsSource(Settings)()

    def of(self, place: Place) -> str:
        """Where the setting at a place came from."""
        if place in self.flags:
            return self.flags[place]
        if _holds(self.variables, place):
            return self._variable(place)
        if _holds(self.given, place):
            return self._line(place)
        return self.preset if _holds(self.brought, place) else DEFAULT

    def defined(self, name: str, key: str = "") -> str:
        """The line of a definition's key, or of its beginning."""
        place = ("stream", name, key) if key else ("stream", name)
        return self._line(place) if _holds(self.data, place) else DEFAULT

    def _line(self, place: Place) -> str:
        line = line_of(self.lines, place)
        return f"{self.file}:{line}" if line else str(self.file)

    def _variable(self, place: Place) -> str:
        """The variable itself, or the one with JSON for all of its section."""
        known = {name.upper(): name for name in self.environment}
        for end in range(len(place), 0, -1):
            if name := known.get("SKIM_" + "__".join(place[:end]).upper()):
                return name
        return "environment"


def effective(settings: Settings, origins: Origins) -> list[Setting]:
    """All settings, in the order in which they are declared; of a stream that the file defines, its definition, too."""
    found = [_setting(place, value, origins.of(place)) for place, value in leaves(settings)]
    if (own := settings.definition) is None:
        return found
    name = settings.stream
    brought = {("topic",): "topic", ("framing",): "framing", ("model",): "model", ("board", "kept"): "kept"}
    for i, one in enumerate(found):
        if one.origin not in (DEFAULT, origins.preset) or (one.key not in brought and one.key != ("stream",)):
            continue
        said = origins.defined(name, brought.get(one.key, ""))
        if said != DEFAULT:
            found[i] = _setting(one.key, one.value, said)
    table = ((place, value) for place, value in leaves(own) if place != ("name",))
    return found + [
        _setting(("stream", name, *place), value, origins.defined(name, place[0])) for place, value in table
    ]


# librdkafka's options that are settings of ours.
_OURS = {
    "bootstrap.servers": "bootstrap",
    "group.id": "group",
    "group.protocol": "protocol",
    "group.instance.id": "member",
    "sasl.username": "user",
    "sasl.password": "password",
    "sasl.oauthbearer.client.id": "user",
    "sasl.oauthbearer.client.secret": "password",
}


def librdkafka(options: Mapping[str, Any], origins: Origins, places: Mapping[str, str] | None = None) -> list[Setting]:
    """The options that librdkafka is given; those that are neither a setting nor the user's own are skim's.

    `places`: of options that a stream's own client keeps, where.
    """
    found = []
    for name, value in sorted(options.items()):
        if callable(value):
            continue
        origin = origins.of(("kafka", "options", name))
        if origin in (DEFAULT, origins.preset) and places and name in places:
            origin = places[name]
        elif origin == DEFAULT:
            origin = origins.of(("kafka", _OURS[name])) if name in _OURS else "skim"
        if origin == DEFAULT and _OURS.get(name) == "password":
            origin = origins.of(("kafka", "password_file"))
        found.append(_setting((name,), value, origin))
    return found


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value that holds no others, with its place; tables in a list are numbered.

    >>> dict(leaves({"a": {"b": 1}, "c": [{"d": 2}], "e": [3, 4]}))
    {('a', 'b'): 1, ('c', '0', 'd'): 2, ('e',): [3, 4]}
    """
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from leaves(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, Mapping) and value:
        for name, one in value.items():
            yield from leaves(one, (*place, str(name)))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], BaseModel | Mapping):
        for number, one in enumerate(value):
            yield from leaves(one, (*place, str(number)))
    else:
        yield place, value


def masked(place: Place, value: Any) -> str | None:
    """A secret without what is secret of it; None where nothing is.

    >>> masked(("redis", "url"), SecretStr("redis://skim:pw@db:6379/0"))
    'redis://skim:***@db:6379/0'
    >>> masked(("kafka", "options", "sasl.password"), "pw"), masked(("topic",), "alerts")
    ('***', None)
    """
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        if not text or (text.startswith(tuple(f"{one}://" for one in _OPEN_SCHEMES)) and not _has_password(text)):
            return None
        return _without_password(text) if text.split("://")[0] in _OPEN_SCHEMES else MASK
    if not isinstance(value, str) or not value:
        return None
    if _SECRET.search(place[-1]):
        return MASK
    return _without_password(value) if _USERINFO.search(value) else None


def _has_password(url: str) -> bool:
    return bool(_USERINFO.search(url)) or "password=" in urlsplit(url).query


def _without_password(url: str) -> str:
    def hidden(match: re.Match[str]) -> str:
        user, colon, _ = match[1].partition(":")
        return f"{user}:{MASK}@" if colon else f"{MASK}@"

    return re.sub(r"(password=)[^&#]*", rf"\1{MASK}", _USERINFO.sub(hidden, url))


def _setting(place: Place, value: Any, origin: str) -> Setting:
    hidden = masked(place, value)
    if hidden is not None:
        return Setting(place, hidden, origin, True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        value = str(value)
    return Setting(place, list(value) if isinstance(value, tuple) else value, origin, False)


def _holds(data: Any, place: Place) -> bool:
    """Whether nested data have something at a place."""
    for part in place:
        if isinstance(data, Mapping):
            named = {str(name).lower(): one for name, one in data.items()}
            if part.lower() not in named:
                return False
            data = named[part.lower()]
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return False
    return True
