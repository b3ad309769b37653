"""Ctrl-C and SIGTERM: the first asks to stop after the batch in hand, the second ends at once."""

import os
import signal
import threading
from types import FrameType

# What a shell reports for a process that a signal ended.
KILLED_BY = 128


def stop_flag(unwind: bool = False) -> threading.Event:
    """An event that the first SIGINT or SIGTERM sets; the handler only sets it, nothing else happens inside.

    The second ends the process where it stands; with `unwind` it raises KeyboardInterrupt instead, for a process whose
    children must not outlive it.
    """
    stopping = threading.Event()

    def heard(number: int, _: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
        elif unwind:
            raise KeyboardInterrupt
        else:
            os._exit(KILLED_BY + number)

    signal.signal(signal.SIGINT, heard)
    signal.signal(signal.SIGTERM, heard)
    return stopping
