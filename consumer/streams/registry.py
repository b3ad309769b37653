"""The streams by name."""

from ...schemas.errors import SkimError
from .base import Stream

NAMES = ("ztf", "lsst", "behaviour", "observation")


class UnknownStream(SkimError):
    """There is no stream of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no stream {name!r}; choose one of {', '.join(NAMES)}")
        self.name = name


def stream_of(name: str) -> Stream:
    """The stream of this name, with its defaults. Raises `UnknownStream`.

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
    raise UnknownStream(name)
