"""Pure numerics: features, models, scores. `from skimstream.scoring import Predictor, Forest, HalfSpaceTrees`.

The names are loaded when they are asked for: whoever imports a small file of this room doesn't wait for numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .forest import Forest
    from .halfspace import HalfSpaceTrees
    from .monitor import RealTimeMonitor
    from .predictor import AnomalyDetectionPredictor, Predictor

__all__ = ["AnomalyDetectionPredictor", "Forest", "HalfSpaceTrees", "Predictor", "RealTimeMonitor"]

_FILES = {
    "AnomalyDetectionPredictor": "predictor",
    "Forest": "forest",
    "HalfSpaceTrees": "halfspace",
    "Predictor": "predictor",
    "RealTimeMonitor": "monitor",
}


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FILES[name]}", __name__), name)
