"""Where the user's own install of Rubin's package `lsst-alert-packet` keeps its schemas.

They are GPL-3.0 and no part of Skimstream: whoever has that package has them, in the layout that `read_local` reads.
"""

from importlib.util import find_spec
from pathlib import Path

PACKAGE, FOLDER = "lsst.alert.packet", "schema"


def installed_schemas() -> Path | None:
    """The folder of all its versions, None where the package isn't installed.

    The package itself isn't imported, only what its parents have to say of where it is.
    """
    try:
        spec = find_spec(PACKAGE)
    except ModuleNotFoundError:  # a parent is missing
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return next((folder for place in places or () if (folder := Path(place) / FOLDER).is_dir()), None)
