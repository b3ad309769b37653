"""The outbox in a real Valkey: numbers without gaps, cooldowns, so many a night, one who tells."""

import time

import redis

from skimstream.consumer.board import key
from skimstream.consumer.outbox import AT_ONCE, Outbox
from skimstream.consumer.rule import Rule
from stage.alerts import alert, leave


def test_alerts_come_in_order_and_numbered_without_gaps(store: redis.Redis) -> None:
    outbox = Outbox(store, "s")
    assert (outbox.last(), outbox.after(0, 10)) == (0, [])
    leave(store, 3)
    leave(store, 4, told=False)  # no channel wants these
    leave(store, 2)
    entries = outbox.after(0, 10)
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.record["id"] for entry in entries] == ["t/0/0", "t/0/1", "t/0/2", "t/0/7", "t/0/8"]
    assert [entry.number for entry in outbox.after(4, 10)] == [5]
    assert not store.exists(key("s", "top", "2026-11-21"))  # an alert alone asks for no place


def test_the_oldest_go_when_there_are_too_many(store: redis.Redis) -> None:
    leave(store, 5_007)
    outbox = Outbox(store, "s")
    first = outbox.after(0, 10)
    assert (first[0].number, len(first), outbox.last()) == (8, AT_ONCE, 5_007)


def test_a_channel_begins_with_what_comes_from_now_on(store: redis.Redis) -> None:
    outbox = Outbox(store, "s")
    leave(store, 3)
    assert outbox.begin("a") == 3
    leave(store, 2)
    assert outbox.begin("a") == 3
    outbox.done("a", 4)
    assert outbox.begin("a") == 4


def test_a_cooldown_holds_others_of_the_object_and_not_the_same_alert(store: redis.Redis) -> None:
    outbox, rule = Outbox(store, "s"), Rule(name="r", min_score=0.5, cooldown=0.3)
    assert outbox.admits(rule, alert(0))
    assert outbox.admits(rule, alert(0))  # another channel, or the same after a crash
    assert not outbox.admits(rule, alert(3))
    assert outbox.admits(rule, alert(1))  # another object
    assert outbox.admits(Rule(name="other", min_score=0.5, cooldown=9), alert(3))
    time.sleep(0.35)
    assert outbox.admits(rule, alert(3))


def test_no_more_than_so_many_a_night(store: redis.Redis) -> None:
    outbox, rule = Outbox(store, "s"), Rule(name="r", alerts_per_night=2)
    assert [outbox.admits(rule, alert(n)) for n in (0, 1, 1, 2, 0)] == [True, True, True, False, True]
    assert outbox.admits(rule, alert(4, night="2026-11-22"))
    assert [outbox.admits(Rule(name="half", alerts_per_night=0.5), alert(n)) for n in (0, 1)] == [True, False]
    held = Rule(name="r", alerts_per_night=2, cooldown=9)
    assert not outbox.admits(held, alert(5, night="2026-11-21"))
    assert not store.exists(key("s", "held", "r", "o2"))  # what isn't told begins no cooldown


def test_one_tells_at_a_time(store: redis.Redis) -> None:
    outbox = Outbox(store, "s")
    assert (outbox.lease("a"), outbox.lease("b"), outbox.lease("a")) == (True, False, True)
    outbox.release("b")
    assert not outbox.lease("b")
    outbox.release("a")
    assert outbox.lease("b")
