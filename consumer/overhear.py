"""What web services answer to libraries that say no more than yes or no: status, and how long to wait.

Apprise's plugins use requests, each call with a session of its own; what comes back is listened to, in that thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Lock, local
from typing import Any

# Answers that may be others next time.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 3_600.0


@dataclass(slots=True)
class Heard:
    """The last answer: its status, None if there was none, and the seconds to wait that it asks for."""

    status: int | None = None
    after: float | None = None

    @property
    def again(self) -> bool:
        """Whether the next try may be answered otherwise."""
        return self.status is None or self.status in PASSING or self.status < 400


class _Listeners(local):
    heard: Heard | None = None


_listeners, _lock = _Listeners(), Lock()


@contextmanager
def overheard() -> Iterator[Heard]:
    """What requests hears in this thread, while the context lasts."""
    _listen()
    heard = _listeners.heard = Heard()
    try:
        yield heard
    finally:
        _listeners.heard = None


def _listen() -> None:
    """Once a process: requests' sessions say what they were answered."""
    import requests

    with _lock:
        original: Any = requests.Session.send
        if getattr(original, "overheard", False):
            return

        def send(self: requests.Session, request: Any, **options: Any) -> Any:
            answer = original(self, request, **options)
            if (heard := _listeners.heard) is not None:
                heard.status = answer.status_code
                heard.after = wait_of(answer.headers.get("Retry-After"), answer.headers.get("Date"))
            return answer

        send.overheard = True  # type: ignore[attr-defined]
        requests.Session.send = send  # type: ignore[method-assign]


def wait_of(retry_after: str | None, date: str | None = None) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number, or a time; at most an hour.

    >>> wait_of("120"), wait_of("soon"), wait_of(None)
    (120.0, None, None)
    >>> wait_of("Mon, 23 Nov 2026 04:00:30 GMT", "Mon, 23 Nov 2026 04:00:00 GMT")
    30.0
    """
    if not retry_after:
        return None
    try:
        if retry_after.strip().isdigit():
            wanted = float(retry_after)
        else:
            wanted = (parsedate_to_datetime(retry_after) - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(wanted, 0.0), LONGEST_WAIT)
