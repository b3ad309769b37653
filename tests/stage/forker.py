"""Makes workers by fork, in milliseconds: what takes seconds (imports, compiled kernels) is done before, and once.

Reads one request a line, as JSON: {"settings": …, "folder": …, "name": …, "point": where or null, "after": n, "signal":
what it sends itself there}; answers with the child's process id. Children are real processes with connections of their
own; they end when this one does.
"""

import ctypes
import faulthandler
import json
import logging
import os
import signal
import struct
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.consumer.run import run, warm_up

from .listed import Recorder, model_of

ENTRY = struct.Struct("<iqd")  # partition, offset, score
PR_SET_PDEATHSIG = 1
_FORMAT = "%(asctime)s %(name)s %(message)s %(kind)s %(reason)s"


class Member(Recorder):
    """Writes every score to a file as it is emitted, and kills or freezes itself where it is told to."""

    request: Mapping[str, Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        path = Path(self.request["folder"]) / f"{self.request['name']}.emitted"
        self.file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.left = self.request["after"]
        if self.request["point"]:
            self.reached = self._stop

    def note(self, partition: int, offsets: Sequence[int], scores: Any) -> None:
        """In the file; what is written survives a kill."""
        os.write(
            self.file,
            b"".join(ENTRY.pack(partition, offset, score) for offset, score in zip(offsets, scores, strict=True)),
        )

    def _stop(self, point: str) -> None:
        if point == self.request["point"]:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.request["signal"])


def child(request: Mapping[str, Any]) -> int:
    """One worker, until SIGTERM; its exit code."""
    folder, name = Path(request["folder"]), request["name"]
    log = os.open(folder / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    shown = logging.Formatter(_FORMAT, defaults={"kind": "", "reason": ""})
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(shown)
    faulthandler.register(signal.SIGUSR1)  # shows in the log where it is
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    settings = load_settings(None, request["settings"])
    Member.request = request
    run(settings, model_of(settings.stream), lambda: bool(stop), make=Member)
    return 0


def main() -> None:
    """Serve requests until the input ends."""
    for stream in ("behaviour",):
        warm_up(configured_stream(load_settings(None, {"stream": stream})), model_of(stream))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how children ended; so they leave no zombies
    print("ready", flush=True)
    parent = os.getpid()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                if os.getppid() == parent:
                    code = child(json.loads(line))
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
