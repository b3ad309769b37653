import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import redis

from skimstream.consumer.board import Board, Row, key, read_nights, read_offsets, read_top
from skimstream.consumer.checkpoint import Checkpoints
from skimstream.consumer.fence import Fence
from skimstream.consumer.streams.base import night_name

NIGHT = 20_778
NAME = night_name(NIGHT)


def row(thing: str, score: float, event: str = "1", night: int = NIGHT) -> Row:
    return Row(night, thing, score, event, json.dumps({"event": event, "night": night_name(night)}))


def dump(store: redis.Redis) -> dict[str, object]:
    """Everything on the board, as a value to compare."""
    read: dict[Any, Callable[[Any], object]] = {
        b"zset": lambda name: store.zrange(name, 0, -1, withscores=True),
        b"hash": store.hgetall,
        b"stream": store.xrange,
    }
    return {name.decode(): read[store.type(name)](name) for name in sorted(store.scan_iter())}


def begin(store: redis.Redis, start: int = 0) -> None:
    Checkpoints(store, "ztf").begin("t/0", start)


def fence(offset: int, start: int = 0) -> Fence:
    """The fence of a partition that has no checkpoint yet."""
    return Fence(offset, f"{start}:new:0")


def board(store: redis.Redis, kept: int = 1_000) -> Board:
    return Board(store, "ztf", kept=kept)


def test_a_batch_puts_its_rows_and_its_offset(store: redis.Redis) -> None:
    one = board(store)
    begin(store, start=5)
    assert one.commit("t/0", fence(5, start=5), 8, [row("a", 0.5), row("b", 0.9, "7")]).applied
    assert read_offsets(store, "ztf") == {"t/0": 8}
    assert [(e["rank"], e["object"], e["score"], e["event"]) for e in read_top(store, "ztf", NAME, 10)] == [
        (1, "b", 0.9, "7"),
        (2, "a", 0.5, "1"),
    ]
    assert read_nights(store, "ztf") == [NAME]
    assert 0 < store.ttl(key("ztf", "top", NAME)) <= 90 * 86_400


def test_an_object_keeps_its_highest_score_and_that_events_details(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    for offset, (score, event) in enumerate([(0.5, "1"), (0.8, "2"), (0.7, "3")]):
        one.commit("t/0", fence(offset), offset + 1, [row("a", score, event)])
    (entry,) = read_top(store, "ztf", NAME, 10)
    assert (entry["score"], entry["event"]) == (0.8, "2")


@pytest.mark.parametrize("order", [("4", "3"), ("3", "4")])
def test_at_an_equal_score_the_smaller_event_id_wins_whoever_came_first(
    store: redis.Redis, order: tuple[str, str]
) -> None:
    one = board(store)
    begin(store)
    for offset, event in enumerate(order):
        one.commit("t/0", fence(offset), offset + 1, [row("a", 0.5, event)])
    assert read_top(store, "ztf", NAME, 1)[0]["event"] == "3"


def test_scores_and_64_bit_ids_keep_every_digit(store: redis.Redis) -> None:
    one, score = board(store), 0.123456789012345678
    begin(store)
    one.commit("t/0", fence(0), 1, [row("a", score, str((1 << 62) + 1))])
    (entry,) = read_top(store, "ztf", NAME, 1)
    assert entry["score"] == score
    assert entry["event"] == str((1 << 62) + 1)


def test_another_offset_refuses_the_whole_batch(store: redis.Redis) -> None:
    one, zombie = board(store), board(store)
    begin(store)
    assert one.commit("t/0", fence(0), 3, [row("a", 0.5)]).applied
    before = dump(store)
    refused = zombie.commit("t/0", fence(1), 2, [row("z", 0.99)])
    assert (refused.applied, refused.stored) == (False, 3)
    assert zombie.commit("t/7", fence(0), 1, [row("z", 0.99)]).stored is None
    assert dump(store) == before


def test_a_call_repeated_after_a_lost_reply_counts_as_applied_once(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 3, [row("a", 0.5)])
    before = dump(store)
    assert one.commit("t/0", fence(0), 3, [row("a", 0.5)]).applied
    assert dump(store) == before


def test_the_list_is_trimmed_with_its_details_and_tells_its_floor(store: redis.Redis) -> None:
    one = board(store, kept=3)
    begin(store)
    assert one.floor(NIGHT) == float("-inf")
    one.commit("t/0", fence(0), 1, [row(f"o{i}", i / 10) for i in range(5)])
    assert one.floor(NIGHT) == 0.2
    assert store.hkeys(key("ztf", "details", NAME)) == [b"o2", b"o3", b"o4"]
    one.forget_lists()
    assert one.floor(NIGHT) == float("-inf")


def test_nights_are_apart(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 1, [row("a", 0.5), row("a", 0.9, "2", NIGHT + 1)])
    assert read_nights(store, "ztf") == [night_name(NIGHT + 1), NAME]
    assert read_top(store, "ztf", NAME, 1)[0]["score"] == 0.5


def test_a_flushed_script_cache_is_no_error(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 1, [])
    store.script_flush()
    assert one.commit("t/0", fence(1), 2, [row("a", 0.5)]).applied


def expected(rows: Iterable[Row], kept: int) -> list[tuple[str, float, str]]:
    """The board, recounted independently."""
    best: dict[str, tuple[float, str]] = {}
    for one in rows:
        have = best.get(one.object)
        if have is None or one.score > have[0] or (one.score == have[0] and one.event < have[1]):
            best[one.object] = (one.score, one.event)
    ranked = sorted(((score, thing, event) for thing, (score, event) in best.items()), reverse=True)
    return [(thing, score, event) for score, thing, event in ranked[:kept]]


@pytest.mark.parametrize("seed", range(10))
def test_any_cut_into_batches_gives_the_recounted_list(store: redis.Redis, seed: int) -> None:
    rng = random.Random(seed)
    rows = [row(f"o{rng.randrange(40)}", rng.randrange(60) / 64, str(rng.randrange(1_000))) for _ in range(300)]
    one, at = board(store, kept=12), 0
    begin(store)
    while at < len(rows):
        size = rng.choice([1, 2, 7, 50])
        worthy = [each for each in rows[at : at + size] if each.score >= one.floor(NIGHT)]
        assert one.commit("t/0", fence(at), at + size, worthy).applied
        at += size
    found = [(e["object"], e["score"], e["event"]) for e in read_top(store, "ztf", NAME, 100)]
    assert found == expected(rows, 12)


def test_names_of_strangers_are_data(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    names = ["", "a b", "x\r\nFLUSHALL\r\n", "}{ztf}", "ключ", "\x00"]
    one.commit("t/0", fence(0), 1, [row(name, i / 10) for i, name in enumerate(names)])
    assert [entry["object"] for entry in read_top(store, "ztf", NAME, 10)] == names[::-1]


def lined(thing: str, score: float, event: str, notable: bool = True, details: bool = True) -> Row:
    line, whole = json.dumps({"event": event, "score": score}), row(thing, score, event)
    return replace(whole, details=whole.details if details else "", line=line, notable=notable)


def test_what_comes_or_rises_is_logged_in_order(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 1, [lined("a", 0.5, "1"), lined("b", 0.7, "2", notable=False)])
    one.commit("t/0", fence(1), 2, [lined("a", 0.4, "3"), lined("a", 0.9, "4"), lined("c", 0.99, "5", details=False)])
    one.commit("t/0", fence(1), 2, [lined("a", 0.95, "6")])  # the same batch once more: refused
    found: Any = store.xrange(key("ztf", "log"))
    logged = [(fields[b"night"], fields[b"object"], fields[b"line"]) for _, fields in found]
    night = NAME.encode()
    assert [(n, thing, json.loads(line)["event"]) for n, thing, line in logged] == [
        (night, b"a", "1"),
        (night, b"b", "2"),
        (night, b"a", "4"),
    ]
    assert 0 < store.ttl(key("ztf", "log")) <= 90 * 86_400
    assert read_top(store, "ztf", NAME, 9)[-1]["object"] == "b"  # c asked for no place, and has none


def test_the_log_is_bounded(store: redis.Redis) -> None:
    one = board(store, kept=10)
    begin(store)
    for batch in range(25):
        rows = [lined(f"o{i}", batch + i / 1_000, f"{batch}-{i}", notable=False) for i in range(1_000)]
        assert one.commit("t/0", fence(batch), batch + 1, rows).applied
    assert 10_000 <= store.xlen(key("ztf", "log")) < 10_500
    latest: Any = store.xrevrange(key("ztf", "log"), count=1)
    [(_, last)] = latest
    assert last[b"object"] == b"o999"


def test_timelines_hold_notable_events_whatever_is_on_the_list_and_are_bounded(store: redis.Redis) -> None:
    one = board(store, kept=2)
    begin(store)
    events = [lined("a", 0.5, "1"), lined("a", 0.9, "2", notable=False), lined("a", 0.1, "3", details=False)]
    one.commit("t/0", fence(0), 1, events)

    def timeline(thing: str) -> list[str]:
        text = store.hget(key("ztf", "timeline", NAME), thing) or b""
        return [json.loads(line)["event"] for line in text.splitlines()]

    assert timeline("a") == ["1", "3"]
    one.commit("t/0", fence(1), 2, [lined("a", 0.2, f"e{i}", details=False) for i in range(300)])
    kept = timeline("a")
    assert kept == [f"e{i}" for i in range(300 - len(kept), 300)]
    assert 3_900 < store.hstrlen(key("ztf", "timeline", NAME), "a") <= 4_096
    one.commit("t/0", fence(2), 3, [lined(f"o{i}", 0.3, "x", details=False) for i in range(50)])
    assert store.hlen(key("ztf", "timeline", NAME)) == 4  # twice the rows kept
    one.commit("t/0", fence(3), 4, [replace(lined("a", 0.2, "long"), line="x" * 5_000)])
    assert store.hget(key("ztf", "timeline", NAME), "a") == b""


def test_what_objects_have_is_known_until_it_is_forgotten(store: redis.Redis) -> None:
    one = board(store, kept=3)
    begin(store)
    one.commit("t/0", fence(0), 1, [row("a", 0.5), row("a", 0.4), row("b", 0.9), lined("c", 0.1, "9", details=False)])
    assert [one.best(NIGHT, thing) for thing in "abc"] == [0.5, 0.9, float("-inf")]
    assert one.best(NIGHT + 1, "a") == float("-inf")
    assert not one.commit("t/0", fence(0), 2, [row("a", 0.7)]).applied
    assert one.best(NIGHT, "a") == 0.5
    one.commit("t/0", fence(1), 2, [row("x", 0.1, night=NIGHT + day) for day in range(1, 12)])
    assert sorted(one.bests) == [NIGHT + day for day in range(4, 12)]
    one.commit("t/0", fence(2), 3, [row(f"o{i}", 0.2, night=NIGHT + 20) for i in range(40)])
    assert 0 < len(one.bests[NIGHT + 20]) <= 4 * 3 + 1
    one.forget_lists()
    assert one.best(NIGHT + 20, "o39") == float("-inf")
