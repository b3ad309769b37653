"""Streams with known anomalies, in their natural order: made ones, simulated ones, public ones."""

from .bursty import bursty
from .drifting import drifting
from .labelled import Labelled
from .public import NAMES as PUBLIC
from .public import public
from .simulated import simulated_stream

__all__ = ["EVIDENCE", "PUBLIC", "Labelled", "stream"]

#: The streams with injected truth.
EVIDENCE = ("nights", "behaviour", "observation", "drift", "bursty")


def stream(name: str, seed: int, events: int | None = None) -> Labelled:
    """One of `EVIDENCE`, as long as the protocol says or so many events, or one of `PUBLIC`, which has no seed."""
    if name in PUBLIC:
        return public(name)
    if name == "drift":
        return drifting(seed, events) if events else drifting(seed)
    if name == "bursty":
        return bursty(seed, events) if events else bursty(seed)
    return simulated_stream(name, seed, events)
