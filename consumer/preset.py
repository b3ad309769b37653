"""Presets: the public alert streams by name, with the settings that reach them, what one needs, and what isn't known.

One TOML file each in `presets/`. Its `[settings]` are those of a settings file, and come last: whatever is said
elsewhere wins. `[required]` are settings that only the user knows.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ..schemas.errors import SkimError
from .streams.toml_lines import Place

NAMES = ("ztf", "ztf-archive", "rubin", "fink-ztf", "fink-lsst", "babamul", "lasair", "antares", "scimma", "gcn")


class Preset(BaseModel):
    """One public stream. The texts are for people; `unconfirmed` says what nobody has seen hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    gives: str  # what a message is
    needs: tuple[str, ...]  # accounts, files, addresses
    login: Literal["", "user", "client"] = ""  # a user and a password, or a client's id and secret (OIDC)
    user_begins: str = ""  # how every user name does
    place: str = ""  # kafka.credentials: where its own client keeps logins
    group: Literal["", "user"] = ""  # "user": the brokers want groups that begin with the user's name
    retention: str
    read_only: bool = True  # dead letters and alerts have to go elsewhere (outgoing.bootstrap)
    start: str  # the lines to start with
    notes: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    own: str = ""  # where no stream of ours reads these messages: a settings file that defines one
    settings: Mapping[str, Any]
    required: Mapping[str, str] = {}  # dotted key → what it is


class UnknownPreset(SkimError, ValueError):
    """There is no preset of this name; `near` are the nearest."""

    def __init__(self, name: str) -> None:
        self.name, self.near = name, tuple(get_close_matches(name.lower(), NAMES, 3, 0.4))
        meant = f"did you mean {' or '.join(self.near)}? " if self.near else ""
        super().__init__(f"there is no preset {name!r}; {meant}`skim presets` lists them: {', '.join(NAMES)}")


def preset_of(name: str) -> Preset:
    """The preset of this name. Raises `UnknownPreset`.

    >>> preset_of("rubin").settings["topic"]
    'lsst-alerts-v11'
    """
    if name not in NAMES:
        raise UnknownPreset(name)
    text = resources.files(__package__ or "").joinpath("presets", f"{name}.toml").read_text("utf-8")
    return Preset.model_validate({**tomllib.loads(text), "name": name})


def presets() -> list[Preset]:
    """All of them, in their usual order."""
    return [preset_of(name) for name in NAMES]


class PresetSource(PydanticBaseSettingsSource):
    """The last source of settings: those of the preset that the sources before it name.

    `told` hears which of them nobody else has set, as places: ("kafka", "options", "sasl.mechanism").
    """

    def __init__(self, settings_cls: type[BaseSettings], told: Callable[[frozenset[Place]], None]) -> None:
        super().__init__(settings_cls)
        self.told = told

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked for: a preset is taken as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The preset's settings; none without one. Raises `UnknownPreset`."""
        name = self.current_state.get("preset")
        if not name:
            return {}
        settings = dict(preset_of(str(name)).settings)
        self.told(frozenset(_unsaid(settings, self.current_state)))
        return settings


def _unsaid(settings: Mapping[str, Any], said: Mapping[str, Any], place: Place = ()) -> Iterator[Place]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _unsaid(value, said.get(name, {}), (*place, name))
        elif name not in said:
            yield (*place, name)
