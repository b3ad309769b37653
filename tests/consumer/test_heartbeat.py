"""The line that tells idle from stuck."""

import threading
from typing import Any

import pytest

from skimstream.consumer.heartbeat import TURN_SECONDS, Heartbeat


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def stands(heart: Heartbeat, consumed: int = 0, lag: int = 0, relearned: int = 0) -> None:
    heart.see(consumed, consumed, relearned, lag, partitions=4)


def test_what_the_line_says() -> None:
    time = Time()
    heart = Heartbeat(clock=time)
    heart.see(consumed=1_000, scored=900, relearned=0, lag=5, partitions=4)
    time.now += 40
    heart.see(consumed=3_000, scored=2_700, relearned=0, lag=7, partitions=3)
    line = heart.fields()
    assert line == {"state": "working", "consumed": 3_000, "scored": 2_700, "rate": 75.0, "lag": 7, "partitions": 3}


@pytest.mark.parametrize(
    ("applied", "lag", "state"),
    [(0, 0, "idle"), (5, 0, "working"), (5, 9, "working"), (0, 9, "stuck")],
)
def test_idle_is_told_from_stuck(applied: int, lag: int, state: str) -> None:
    time = Time()
    heart = Heartbeat(clock=time)
    stands(heart, 10)
    heart.fields()
    time.now += 1
    stands(heart, 10 + applied, lag)
    assert heart.fields()["state"] == state


def test_learning_again_is_work() -> None:
    heart = Heartbeat(clock=Time())
    stands(heart, lag=9, relearned=50)
    assert heart.fields()["state"] == "working"


def test_a_pause_has_a_reason_and_an_end() -> None:
    heart = Heartbeat(clock=Time())
    stands(heart, lag=9)
    heart.wait("timeout")
    assert (heart.fields()["state"], heart.fields()["reason"]) == ("waiting", "timeout")
    heart.go_on()
    assert heart.fields()["state"] == "stuck"


@pytest.mark.parametrize("paused", [False, True])
def test_a_loop_that_no_longer_turns_is_stuck_whatever_it_said_last(paused: bool) -> None:
    time = Time()
    heart = Heartbeat(clock=time)
    stands(heart, 50)
    if paused:
        heart.wait("timeout")
    time.now += TURN_SECONDS + 1
    line = heart.fields()
    assert (line["state"], line["reason"]) == ("stuck", f"no turn of the loop for {TURN_SECONDS + 1:.0f} s")


def test_it_beats_by_itself_until_its_end() -> None:
    lines: list[dict[str, Any]] = []
    twice = threading.Event()

    def say(fields: dict[str, Any]) -> None:
        lines.append(fields)
        if len(lines) == 2:
            twice.set()

    before = threading.active_count()
    with Heartbeat(0.01, say=say):
        assert twice.wait(10)
    count = len(lines)
    assert threading.active_count() <= before + 1
    assert not threading.Event().wait(0.05)
    assert len(lines) <= count + 1


def test_none_is_wanted() -> None:
    with Heartbeat(0, say=lambda fields: pytest.fail("it beat")):
        assert not threading.Event().wait(0.05)
