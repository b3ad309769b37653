"""Alerts in an outbox, as a worker leaves them."""

from typing import Any

import redis

from skimstream.consumer.alert import Alert
from skimstream.consumer.board import Board, Row
from skimstream.consumer.checkpoint import Checkpoints

NIGHT = 20_778  # 2026-11-21


def alert(number: int, **more: Any) -> dict[str, Any]:
    """What is told of the message at an offset; three objects take turns."""
    return {
        "id": f"t/0/{number}",
        "stream": "behaviour",
        "object": f"o{number % 3}",
        "night": "2026-11-21",
        "rules": ["r"],
        "score": 0.5 + number / 10_000,
        "combined": 3.0,
        "severity": "high",
        "model": "m",
        "reasons": [],
        "candidate": {},
    } | more


def leave(store: redis.Redis, count: int, told: bool = True, **more: Any) -> None:
    """So many more alerts on the board `s`, one commit. told: some channel wants them."""
    fence = Checkpoints(store, "s").begin("t/0", 0).fence
    records = [alert(fence.offset + n, **more) for n in range(count)]
    rows = [Row(NIGHT, one["object"], 0.5, one["id"], "", "{}", False, Alert(one, told)) for one in records]
    assert Board(store, "s").commit("t/0", fence, fence.offset + count, rows).applied
