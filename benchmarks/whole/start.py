"""How long from `skim run` to the first score on the board: with kernels compiled, and with none compiled yet."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from whole.arena import Arena

SKIM = str(Path(sys.executable).with_name("skim"))
EVENTS = 2_000  # enough for a first score: the stream begins at once, from the topic's beginning
TIMEOUT = 300.0
STEP = 0.01


def starts(arena: Arena, stream: str, messages: list[bytes], repeats: int) -> dict[str, float]:
    """Wall seconds: medians of a start with kernels at hand, and one start that compiles them all."""
    topic = f"{stream}-start"
    arena.fill(topic, 1, messages[:EVENTS])
    warm = [_one(arena, stream, topic, f"warm-{turn}", {}) for turn in range(repeats + 1)][1:]
    with tempfile.TemporaryDirectory(prefix="skim-kernels-") as folder:
        first = _one(arena, stream, topic, "first", {"NUMBA_CACHE_DIR": folder})
    return {"warm_s": round(statistics.median(warm), 2), "first_s": round(first, 2)}


def _one(arena: Arena, stream: str, topic: str, group: str, more: dict[str, str]) -> float:
    arena.empty()
    command = [
        *(SKIM, "run", stream, "--topic", topic, "--kafka", arena.bootstrap, "--redis", arena.store.url),
        *("--group", f"{topic}-{group}", "--metrics-port", "0"),
    ]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log, arena.store.client() as store:
        worker = subprocess.Popen(command, env={**os.environ, **more}, stdout=log, stderr=log)  # noqa: S603 (its own)
        try:
            while not any(store.scan_iter(f"skim:{{{stream}}}:top:*")):
                if worker.poll() is not None or time.perf_counter() - began > TIMEOUT:
                    log.seek(0)
                    raise SystemExit(log.read().decode()[-2_000:])
                time.sleep(STEP)
            return time.perf_counter() - began
        finally:
            worker.terminate()
            worker.wait()
