"""Produced → visible on the board at offered rates: a producer that waits for nobody, and one worker."""

import json
import subprocess
import sys
from typing import Any

from whole.arena import ROOT, Arena
from whole.spec import Spec

RATES = (1_000, 10_000, 50_000)  # events a second
SECONDS = {False: 20.0, True: 3.0}  # of a full run, and of a quick one
TIMEOUT = 120.0


def latency(arena: Arena, stream: str, partitions: int, messages: list[bytes], quick: bool) -> dict[str, Any]:
    """By rate: delays in ms (p50, p99, p99.9), and how far behind the producer itself was at its end, in seconds."""
    return {str(rate): _one(arena, stream, partitions, messages, rate, SECONDS[quick]) for rate in RATES}


def _one(
    arena: Arena, stream: str, partitions: int, messages: list[bytes], rate: int, seconds: float
) -> dict[str, Any]:
    arena.empty()
    topic = f"{stream}-at-{rate}"
    arena.broker.create_topic(topic, partitions)
    spec = Spec(stream, arena.bootstrap, topic, partitions, arena.store.url, int(rate * seconds), topic)
    where = ROOT / "benchmarks"
    worker = subprocess.Popen(  # noqa: S603 (its own)
        [sys.executable, "-m", "whole.delayed", spec.to_json()], cwd=where, stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            return {"problem": "the worker didn't start"}
        lines = "\n".join(message.hex() for message in messages[: spec.events])
        sent = subprocess.run(  # noqa: S603 (its own)
            [sys.executable, "-m", "whole.offer", spec.to_json(), str(rate)],
            cwd=where,
            input=lines,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT,
        )
        answer, _ = worker.communicate(timeout=TIMEOUT)
        return {**json.loads(answer.splitlines()[-1]), **json.loads(sent.stdout)}
    finally:
        worker.kill()
        worker.wait()
