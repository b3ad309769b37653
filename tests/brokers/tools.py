"""Where programs are that `make dev` unpacked from Debian's packages, or that the system has."""

import shutil
from pathlib import Path

from .server import Unavailable

UNPACKED = Path(__file__).resolve().parents[2] / "build/tools/usr"


def tool(name: str) -> str:
    """The path of prometheus, promtool, prometheus-alertmanager, amtool. Raises Unavailable."""
    found = shutil.which(name, path=str(UNPACKED / "bin")) or shutil.which(name)
    if found is None:
        raise Unavailable(f"needs {name}: `make dev` fetches it where there is apt-get")
    return found
