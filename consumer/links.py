"""Where else to look at an object."""

import re
from collections.abc import Mapping
from typing import Any

# Only what is an id of the survey becomes part of an address.
ZTF_ID = re.compile(r"ZTF\d{2}[a-z]{7}")


def links_of(stream: str, owner: str, candidate: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Name and address of the services that know an object of a survey; none for anything else.

    >>> links_of("ztf", "ZTF18abcdefg")["ALeRCE"]
    'https://alerce.online/object/ZTF18abcdefg'
    >>> links_of("behaviour", "ZTF18abcdefg")
    {}
    """
    if stream != "ztf" or not ZTF_ID.fullmatch(owner):
        return {}
    links = {
        "Fink": f"https://ztf.fink-portal.org/{owner}",
        "ALeRCE": f"https://alerce.online/object/{owner}",
        "Lasair": f"https://lasair-ztf.lsst.ac.uk/objects/{owner}/",
    }
    ra, dec = ((candidate or {}).get(name) for name in ("ra", "dec"))
    if isinstance(ra, float) and isinstance(dec, float):
        at = f"ra={ra:.6f}&decl={dec:.6f}&radius=5&coords_unit=arcsec"
        links["TNS"] = f"https://www.wis-tns.org/search?{at}"
    return links
