"""Runs checks side by side, none for longer than it may take."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping

from .finding import Check, Finding, found

SECONDS = 12.0


def examine(checks: Mapping[str, Check], seconds: float = SECONDS) -> Iterator[Finding]:
    """What the checks find, in their order; one that isn't done after `seconds` is a finding itself.

    Each runs in a thread that keeps no process alive: nothing ends a call into a resolver or a library from outside.
    """
    until = time.monotonic() + seconds
    answers: dict[str, queue.SimpleQueue[Finding | None]] = {name: queue.SimpleQueue() for name in checks}
    for name, check in checks.items():
        threading.Thread(target=_run, args=(name, check, answers[name]), name=f"doctor-{name}", daemon=True).start()
    for name, answer in answers.items():
        try:
            while (finding := answer.get(timeout=max(0.0, until - time.monotonic()))) is not None:
                yield finding
        except queue.Empty:
            yield found(name, "no-answer", f"not done after {seconds:g} s")


def _run(name: str, check: Check, answer: "queue.SimpleQueue[Finding | None]") -> None:
    try:
        for finding in check():
            answer.put(finding)
    except Exception as error:  # told, not swallowed: the other checks are still worth having
        answer.put(found(name, "check-failed", f"{type(error).__name__}: {error}"))
    answer.put(None)
