"""Ctrl-C and SIGTERM: the first asks to stop after the batch in hand, the second ends at once."""

import os
import signal
import threading
from types import FrameType

# What a shell reports for a process that a signal ended.
KILLED_BY = 128


def stop_flag() -> threading.Event:
    """An event that the first SIGINT or SIGTERM sets; handlers only set it, nothing else happens inside them."""
    stopping = threading.Event()

    def heard(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(KILLED_BY + number)
        stopping.set()

    signal.signal(signal.SIGINT, heard)
    signal.signal(signal.SIGTERM, heard)
    return stopping
