"""The streams by name."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...schemas.errors import SkimError
from .base import Stream

if TYPE_CHECKING:
    from .definition import Definition

NAMES = ("ztf", "lsst", "behaviour", "observation")
NONE: "Mapping[str, Definition]" = MappingProxyType({})


class UnknownStream(SkimError):
    """There is no stream of this name: `known` are those that there are."""

    def __init__(self, name: str, known: Iterable[str] = NAMES) -> None:
        self.name, self.known = name, tuple(known)
        near = get_close_matches(name, self.known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        own = "" if len(self.known) > len(NAMES) else "; one of your own needs --config with its [stream.…]"
        super().__init__(f"there is no stream {name!r}; choose one of {', '.join(self.known)}{meant}{own}")


def stream_of(name: str, own: "Mapping[str, Definition]" = NONE) -> Stream:
    """The stream of this name, with its defaults; of those in `own`, too. Raises `UnknownStream`.

    Imported as it is asked for: a behaviour worker need not load the light-curve library.
    """
    if name == "ztf":
        from .ztf import Ztf

        return Ztf()
    if name == "lsst":
        from .lsst import Lsst

        return Lsst()
    if name == "behaviour":
        from .behaviour import Behaviour

        return Behaviour()
    if name == "observation":
        from .observation import Observation

        return Observation()
    if name in own:
        from .own import Own

        return Own(own[name])
    raise UnknownStream(name, (*NAMES, *own))
