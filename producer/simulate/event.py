"""One simulated event, and the truth about it, which travels apart."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Simulated:
    """A record as a stream would carry it, and beside it what the simulator knows.

    record: what goes to the topic, ready for the encoder; nothing in it tells an injected anomaly from the rest.
    key: objectId or user_id, the message key.  event_id: candid or session_id.
    event_time: seconds since 1970, UTC.  truth: the injected anomaly's name, None for an ordinary event.
    """

    record: dict[str, Any]
    key: str
    event_id: str
    event_time: float
    truth: str | None = None


def truth_message(simulated: Simulated) -> bytes:
    """What is known about the event, as JSON for a side topic: {event_id, key, kind, time}; kind null = ordinary.

    >>> truth_message(Simulated({}, key="ZTF26aaaaaab", event_id="17", event_time=1.5, truth="flare"))
    b'{"event_id": "17", "key": "ZTF26aaaaaab", "kind": "flare", "time": 1.5}'
    """
    truth = {"event_id": simulated.event_id, "key": simulated.key, "kind": simulated.truth}
    return json.dumps({**truth, "time": simulated.event_time}).encode()
